-- The same of some tenants, as far as they are known here.
--
--   $1 tenants  text[]
SELECT logs.log, logs.tenant, coalesce(newest.position, 0) AS head, logs.moved_to, logs.moving_to
FROM unnest($1::text[]) AS asked (tenant)
CROSS JOIN LATERAL (
    SELECT log, tenant, moved_to, moving_to
    FROM events.logs
    WHERE tenant = asked.tenant
    LIMIT 1
) AS logs
LEFT JOIN LATERAL (
    SELECT records.position
    FROM events.records
    WHERE records.log = logs.log
    ORDER BY records.position DESC
    LIMIT 1
) AS newest ON true;
