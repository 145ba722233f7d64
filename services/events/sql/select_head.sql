-- The position of a log's last record; no row when nobody has appended to it.
--
--   $1 tenant  text
SELECT head
FROM events.logs
WHERE tenant = $1;
