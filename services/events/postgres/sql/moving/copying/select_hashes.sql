-- The hashes of the rows of a table that belong to a log: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 table   text
SELECT hash
FROM events.carried_hashes($1, $2) AS hash;
