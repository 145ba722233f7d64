-- Has a log be here that left for here: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 move    bigint
SELECT events.arrive($1, $2);
