-- Locks a log against appends until the transaction ends, waiting its turn.
--
-- Without it a process that reads the head, decides and writes can lose to a faster one
-- for ever; who waits for this lock is served in the order of asking.
--
--   $1 tenant  text
SELECT own_log.head
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT head
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
    FOR UPDATE
) AS own_log;
