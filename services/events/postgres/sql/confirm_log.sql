-- The incarnation of a log and its head, which begins a new one when the log is not where it
-- was, or has gone back; no row when nobody has appended to it: see the function in
-- 0005_tell_incarnations.sql.
--
--   $1 tenant     text
--   $2 seen       text    the incarnation that this process knew, empty for none
--   $3 seen_head  bigint  the head that it has seen of it
SELECT incarnation, head
FROM events.confirm($1, $2, $3);
