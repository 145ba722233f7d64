-- Tells the other processes which logs have moved, see wakeups.py.
--
--   $1 channel   text
--   $2 payloads  text[]
SELECT pg_notify($1, message.payload)
FROM unnest($2::text[]) AS message (payload);
