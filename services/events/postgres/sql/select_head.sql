-- The position of a log's last record; no row when it has none.
--
--   $1 tenant  text
SELECT last.position
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT position
    FROM events.records
    WHERE log = own_log.log
    ORDER BY position DESC
    LIMIT 1
) AS last;
