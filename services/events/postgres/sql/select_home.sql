-- Where a log is as far as this database knows, and since which move; no row when it does not know the
-- log. NULL is here.
--
--   $1 tenant  text
SELECT own.moved_to, own.move
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT moved_to, move
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own;
