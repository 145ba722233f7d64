-- Takes in that other sites of a lattice are blocked.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 lattice_id  text
--   $4 is_blocked  boolean
--   $5 vertices    numeric
--   $6 edges       numeric
UPDATE projection_lattices.lattices
SET is_blocked = $4, vertices = $5, edges = $6
WHERE tenant = $1 AND generation = $2 AND lattice_id = $3;
