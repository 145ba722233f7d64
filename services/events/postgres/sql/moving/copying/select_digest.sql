-- How many records lie behind a position up to another, and a digest of them: see the function in
-- 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 behind  bigint
--   $3 upto    bigint
SELECT record_count, digest
FROM events.carried_digest($1, $2, $3);
