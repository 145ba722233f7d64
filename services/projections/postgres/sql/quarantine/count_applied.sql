-- Counts events that were applied out of quarantine.
--
--   $1 tenant       text
--   $2 projection   text
--   $3 generation   bigint
--   $4 event_count  bigint
UPDATE projections.checkpoints
SET event_count = event_count + $4
WHERE tenant = $1 AND projection = $2 AND generation = $3;
