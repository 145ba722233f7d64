-- Whether a log is here and nobody copies it, asked by who has taken it: movers take it, too, before
-- they begin. Without it payloads would be taken here that are on their way to elsewhere.
--
--   $1 log  bigint
SELECT moved_to IS NULL AND moving_to IS NULL
FROM events.logs
WHERE log = $1;
