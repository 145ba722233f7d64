-- Has a log be moved to another place, or stay where it is: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 place   text  NULL is where it is
SELECT events.ask_move($1, $2);
