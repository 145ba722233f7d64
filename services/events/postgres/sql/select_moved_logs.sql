-- Which of these logs are not as they were seen last: see the function in
-- 0005_tell_incarnations.sql.
--
--   $1 tenants       text[]
--   $2 incarnations  text[]    that each was last seen in
--   $3 heads         bigint[]  that each had then
SELECT tenant
FROM events.moved($1, $2, $3);
