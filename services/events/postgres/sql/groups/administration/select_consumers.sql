-- Who consumes a group now.
--
--   $1 tenant  text
--   $2 name    text
SELECT
    one.consumer,
    one.called,
    one.actor,
    one.joined_at,
    (
        SELECT count(*)
        FROM events.group_lanes
        WHERE log = own_log.log AND name = $2 AND consumer = one.consumer
    ) AS lane_count
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT *
    FROM events.group_consumers
    WHERE log = own_log.log AND name = $2 AND expires_at > clock_timestamp()
    ORDER BY consumer
    LIMIT 1000
) AS one
ORDER BY one.consumer;
