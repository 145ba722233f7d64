-- Where a log ends here, or what is copied of it; 0 of none.
--
--   $1 tenant  text
SELECT coalesce(max(newest.position), 0) AS head
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
) AS newest;
