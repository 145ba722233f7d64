-- Waits for the turn to append to a log, and keeps it until the transaction ends.
--
-- Without it a process that reads the head, decides and writes can lose to a faster one
-- for ever; turns come in the order of asking.
--
--   $1 tenant  text
SELECT events.take_turn($1);
