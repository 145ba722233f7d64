-- Has a mover have a log to itself, and answers the number of the move and where it leads: see the
-- function in 0018_place_logs.sql.
--
--   $1 tenant   text
--   $2 lease_s  double precision
SELECT move, moving_to
FROM events.claim_move($1, $2);
