-- The position of a log's last record; no row when nobody has appended to it.
--
--   $1 tenant  text
SELECT own_log.head
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT head
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log;
