-- Has a log be awaited here: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 place   text    where it is
--   $3 move    bigint
SELECT events.begin_receiving($1, $2, $3);
