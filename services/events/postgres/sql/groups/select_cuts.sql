-- What was settled of a group when its lanes were cut otherwise, the first cut first.
--
--   $1 tenant  text
--   $2 name    text
SELECT found.through, found.checkpoints, found.acked, found.incarnation, found.filter
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT *
    FROM events.group_cuts
    WHERE log = own_log.log AND name = $2
    ORDER BY cut
    LIMIT 2147483647
) AS found;
