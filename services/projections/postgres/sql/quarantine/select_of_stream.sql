-- The first events of a stream that were put aside.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
--   $4 stream      text
--   $5 count_max   bigint
SELECT position
FROM projections.quarantine
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND stream = $4
ORDER BY position
LIMIT $5;
