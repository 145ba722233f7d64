-- Deletes some of a copy that is of no use; true when nothing is left: see the function in
-- 0018_place_logs.sql.
--
--   $1 tenant     text
--   $2 move       bigint
--   $3 row_count  bigint
SELECT events.discard($1, $2, $3);
