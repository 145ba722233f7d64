-- Has a mover have a log to itself for longer; no row when it does not have it any more.
--
--   $1 tenant   text
--   $2 move     bigint
--   $3 lease_s  double precision  0 gives it back
UPDATE events.logs
SET mover_until = clock_timestamp() + make_interval(secs => $3)
WHERE tenant = $1 AND move = $2 AND moving_to IS NOT NULL
RETURNING true;
