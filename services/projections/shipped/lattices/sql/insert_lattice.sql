-- Adds a lattice that was created.
--
--   $1 tenant            text
--   $2 generation        bigint
--   $3 lattice_id        text
--   $4 created_position  bigint
--   $5 created_at        timestamptz
--   $6 created_by        text
--   $7 shape             bigint[]
--   $8 is_periodic       boolean[]
--   $9 is_moore          boolean
--   $10 is_blocked       boolean
--   $11 site_count       numeric
--   $12 vertices         numeric
--   $13 edges            numeric
INSERT INTO projection_lattices.lattices (
    tenant, generation, lattice_id, created_position, created_at, created_by, shape, is_periodic,
    is_moore, is_blocked, site_count, vertices, edges
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);
