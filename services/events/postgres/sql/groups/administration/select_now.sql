-- What time it is, and where a log ends.
--
--   $1 tenant  text
SELECT clock_timestamp() AS now, coalesce(events.head_of(events.group_log($1, false)), 0) AS head;
