-- Keeps the rules of a stream as they are until the transaction ends.
--
-- Without it a payload could be taken away that a rule, relaxed and answered meanwhile, keeps.
--
--   $1 log     bigint
--   $2 stream  bigint
SELECT stream
FROM events.stream_rules
WHERE log = $1 AND stream = $2
FOR UPDATE;
