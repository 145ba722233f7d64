-- Has the generations of a projection go on that have stopped.
--
--   $1 tenant      text
--   $2 projection  text
UPDATE projections.checkpoints
SET stopped_at = NULL, stop_cause = NULL, attempt_count = 0
WHERE tenant = $1 AND projection = $2 AND stopped_at IS NOT NULL;
