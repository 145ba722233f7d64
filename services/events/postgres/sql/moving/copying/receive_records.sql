-- Puts records behind a position, and the streams that begin with them: see the function in
-- 0018_place_logs.sql.
--
--   $1 tenant   text
--   $2 move     bigint
--   $3 behind   bigint
--   $4 streams  text[]
--   $5 records  text[]
SELECT events.receive_records($1, $2, $3, $4, $5);
