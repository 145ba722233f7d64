-- The settings of a group; no row when there is none.
--
--   $1 tenant  text
--   $2 name    text
SELECT
    found.version,
    found.lane_count,
    found.key_tag_prefix,
    found.filter,
    found.attempt_count_max,
    found.passes_parked,
    found.held_count_max,
    extract(epoch FROM found.lease)::double precision AS lease_s,
    found.created_at
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
    WHERE log = own_log.log AND name = $2
    LIMIT 1
) AS found;
