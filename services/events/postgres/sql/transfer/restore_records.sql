-- Puts records of another log down behind a position: see the function in 0017_restore_logs.sql.
--
--   $1 tenant   text
--   $2 behind   bigint
--   $3 records  events.restored_record[]
SELECT outcome, at
FROM events.restore($1, $2, $3);
