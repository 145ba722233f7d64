-- Takes events out of quarantine, which are applied in this transaction or are gone from the log.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
--   $4 positions   bigint[]
DELETE FROM projections.quarantine
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND position = ANY ($4::bigint[]);
