-- Has a checkpoint to this transaction alone, and answers whether it is as it was left.
--
-- Without the lock a process that was paused past its lease could look, find its token, and write
-- after another has taken over. One that takes over waits here until this transaction has ended.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
--   $4 fence       bigint
--   $5 position    bigint
SELECT fence = $4 AND position = $5 AS is_as_left
FROM projections.checkpoints
WHERE tenant = $1 AND projection = $2 AND generation = $3
FOR UPDATE;
