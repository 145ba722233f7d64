-- Locks a log against appends until the transaction ends, waiting its turn.
--
-- Without it a process that reads the head, decides and writes can lose to a faster one
-- for ever; who waits for this lock is served in the order of asking.
--
--   $1 tenant  text
SELECT head
FROM events.logs
WHERE tenant = $1
FOR UPDATE;
