-- The lanes of a group, how far each is, and what it holds apart.
--
--   $1 tenant      text
--   $2 name        text
--   $3 lane_count  integer  of the group
SELECT
    led.lane,
    led.token,
    CASE WHEN led.expires_at > clock_timestamp() THEN led.consumer ELSE '' END AS consumer,
    led.checkpoint,
    led.incarnation,
    next.recorded_at AS next_recorded_at,
    oldest.recorded_at AS held_recorded_at,
    coalesce(held.held_count, 0) AS held_count,
    coalesce(held.parked_count, 0) AS parked_count
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT *
    FROM events.group_lanes
    WHERE log = own_log.log AND name = $2
    ORDER BY lane
    LIMIT 1000
) AS led
LEFT JOIN LATERAL (
    SELECT recorded_at
    FROM events.records
    WHERE log = own_log.log AND position > led.checkpoint
    ORDER BY position
    LIMIT 1
) AS next ON true
LEFT JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state <> 'parked') AS held_count,
        count(*) FILTER (WHERE state = 'parked') AS parked_count,
        min(position) FILTER (WHERE state <> 'parked') AS first_position
    FROM events.group_held
    WHERE log = own_log.log AND name = $2 AND key_hash % $3 = led.lane
) AS held ON true
LEFT JOIN LATERAL (
    SELECT recorded_at
    FROM events.records
    WHERE log = own_log.log AND position = held.first_position
    LIMIT 1
) AS oldest ON true
ORDER BY led.lane;
