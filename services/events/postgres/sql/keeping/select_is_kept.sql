-- Whether a log has any rule.
--
--   $1 tenant  text
SELECT kept.log
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.kept_logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS kept;
