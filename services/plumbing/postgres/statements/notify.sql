-- Passes texts to all processes that listen on a channel of this database.
--
--   $1 channel   text
--   $2 payloads  text[]
SELECT pg_notify($1, message.payload)
FROM unnest($2::text[]) AS message (payload);
