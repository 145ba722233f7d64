-- Notes that an event could not be applied, and whether the projection stops for it.
--
--   $1 tenant           text
--   $2 projection       text
--   $3 generation       bigint
--   $4 fence            bigint
--   $5 stop_cause       text    NULL while it is tried again
--   $6 problem          text
--   $7 failed_position  bigint  NULL when it is about no event
--   $8 attempt_count    bigint
UPDATE projections.checkpoints
SET stopped_at = CASE WHEN $5::text IS NOT NULL THEN now() END,
    stop_cause = $5,
    problem = $6,
    failed_position = $7,
    attempt_count = $8
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND fence = $4;
