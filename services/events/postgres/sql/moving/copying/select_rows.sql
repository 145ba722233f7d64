-- The rows that have some hashes, as text: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 table   text
--   $3 hashes  text[]
SELECT one
FROM events.carried_rows($1, $2, $3) AS one;
