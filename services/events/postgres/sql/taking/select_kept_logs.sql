-- The tenants whose logs have rules, in the order of the logs.
--
--   $1 after  bigint  the log behind which they lie
--   $2 limit  bigint
SELECT log, tenant
FROM events.kept_logs
WHERE log > $1
ORDER BY log
LIMIT $2;
