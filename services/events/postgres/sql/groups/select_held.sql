-- What lanes of a group hold apart, and how many seconds from now each may be tried.
--
--   $1 tenant      text
--   $2 name        text
--   $3 lanes       integer[]
--   $4 lane_count  integer  of the group
SELECT
    held.key_hash % $4 AS lane,
    held.position,
    held.key,
    held.state,
    held.attempt_count,
    greatest(0, extract(epoch FROM held.due_at - clock_timestamp()))::double precision AS delay_s,
    held.reason
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT *
    FROM events.group_held
    WHERE log = own_log.log AND name = $2 AND key_hash % $4 = ANY ($3::integer[])
    ORDER BY position
    LIMIT 2147483647
) AS held;
