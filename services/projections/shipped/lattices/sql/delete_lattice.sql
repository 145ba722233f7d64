-- Takes a lattice out that was deleted.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 lattice_id  text
DELETE FROM projection_lattices.lattices
WHERE tenant = $1 AND generation = $2 AND lattice_id = $3;
