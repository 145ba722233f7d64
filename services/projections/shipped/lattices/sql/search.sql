-- A page of the lattices that meet all that is asked, the newest first.
--
--   $1 tenant           text
--   $2 shape            bigint[]     empty asks for nothing
--   $3 axis_count       integer      0 asks for nothing
--   $4 is_moore         boolean      NULL asks for nothing
--   $5 is_blocked       boolean      NULL asks for nothing
--   $6 site_count_min   numeric
--   $7 site_count_max   numeric      0 asks for nothing
--   $8 created_from     timestamptz  NULL asks for nothing
--   $9 created_before   timestamptz  NULL asks for nothing
--   $10 before          bigint       created at a position before this
--   $11 count_max       bigint
SELECT
    lattice_id,
    created_position,
    created_at,
    created_by,
    shape,
    is_periodic,
    is_moore,
    site_count,
    vertices,
    edges
FROM projection_lattices.lattice_views
WHERE tenant = $1
  AND (cardinality($2::bigint[]) = 0 OR shape = $2)
  AND ($3::integer = 0 OR cardinality(shape) = $3)
  AND ($4::boolean IS NULL OR is_moore = $4)
  AND ($5::boolean IS NULL OR is_blocked = $5)
  AND site_count >= $6
  AND ($7::numeric = 0 OR site_count <= $7)
  AND ($8::timestamptz IS NULL OR created_at >= $8)
  AND ($9::timestamptz IS NULL OR created_at < $9)
  AND created_position < $10
ORDER BY created_position DESC
LIMIT $11;
