-- Tells the tenant for the rest of the transaction, and takes the log for it; no row when
-- another process has it.
--
-- Without the lock two replicas would read and rewrite the same records. It ends with the
-- transaction, also of a process that is killed.
--
--   $1 tenant  text
SELECT own_log.log
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
WHERE pg_try_advisory_xact_lock(
    'events.kept_logs'::regclass::oid::integer, (own_log.log % 2147483648)::integer
);
