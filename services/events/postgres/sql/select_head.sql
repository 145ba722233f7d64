-- The position of a log's last record; no row when nobody has appended to it.
--
--   $1 tenant  text
SELECT this.head
FROM set_config('girih.tenant', $1, true) AS told (tenant)
CROSS JOIN LATERAL (
    SELECT head
    FROM events.logs
    WHERE tenant = told.tenant
    LIMIT 1
) AS this;
