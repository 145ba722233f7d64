-- Takes a log until the transaction ends: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 move    bigint
SELECT events.hold($1, $2);
