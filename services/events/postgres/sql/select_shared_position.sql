-- The position up to which a log holds what it held in an incarnation that has ended; NULL
-- when it never had that one.
--
--   $1 tenant       text
--   $2 incarnation  text
SELECT lowest.begins_behind AS position
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT number
    FROM events.incarnations
    WHERE log = own_log.log AND incarnation = $2
    LIMIT 1
) AS ended
CROSS JOIN LATERAL (
    SELECT begins_behind
    FROM events.incarnations
    WHERE log = own_log.log AND number > ended.number
    ORDER BY begins_behind
    LIMIT 1
) AS lowest;
