-- Moves a checkpoint: what is written in this transaction is all that the log has up to there.
--
--   $1 tenant       text
--   $2 projection   text
--   $3 generation   bigint
--   $4 position     bigint
--   $5 incarnation  text
--   $6 event_count  bigint  how many events were applied
UPDATE projections.checkpoints
SET position = $4,
    incarnation = $5,
    event_count = event_count + $6,
    moved_at = now(),
    stopped_at = NULL,
    stop_cause = NULL,
    problem = NULL,
    failed_position = NULL,
    attempt_count = 0
WHERE tenant = $1 AND projection = $2 AND generation = $3;
