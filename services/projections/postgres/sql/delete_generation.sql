-- Forgets a generation, of which no row is left.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
WITH put_aside AS (
    DELETE FROM projections.quarantine
    WHERE tenant = $1 AND projection = $2 AND generation = $3
)
DELETE FROM projections.checkpoints
WHERE tenant = $1 AND projection = $2 AND generation = $3;
