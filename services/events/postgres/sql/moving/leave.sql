-- Has a log be elsewhere: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 move    bigint
--   $3 place   text
SELECT events.leave($1, $2, $3);
