-- Says where a log is that is not here: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 place   text
--   $3 move    bigint
SELECT events.point($1, $2, $3);
