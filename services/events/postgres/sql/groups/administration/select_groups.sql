-- The first groups behind a name, in the order of their names.
--
--   $1 tenant     text
--   $2 behind     text
--   $3 count_max  bigint
SELECT
    found.name,
    found.lane_count,
    found.version,
    (
        SELECT count(*)
        FROM events.group_consumers
        WHERE log = own_log.log AND name = found.name AND expires_at > clock_timestamp()
    ) AS consumer_count,
    (
        SELECT min(checkpoint) FROM events.group_lanes WHERE log = own_log.log AND name = found.name
    ) AS checkpoint,
    held.held_count,
    held.parked_count
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT *
    FROM events.groups
    WHERE log = own_log.log AND name > $2
    ORDER BY name
    LIMIT $3
) AS found
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state <> 'parked') AS held_count,
        count(*) FILTER (WHERE state = 'parked') AS parked_count
    FROM events.group_held
    WHERE log = own_log.log AND name = found.name
) AS held
ORDER BY found.name;
