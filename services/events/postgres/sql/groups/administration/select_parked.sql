-- The first events behind a position that a group has parked, and how many wait behind each.
--
--   $1 tenant     text
--   $2 name       text
--   $3 behind     bigint
--   $4 count_max  bigint
SELECT
    parked.position,
    parked.key,
    parked.reason,
    parked.attempt_count,
    parked.changed_at,
    (
        SELECT count(*)
        FROM events.group_held
        WHERE log = own_log.log AND name = $2 AND key = parked.key AND position > parked.position
          AND state <> 'parked'
    ) AS waiting_count
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
    WHERE log = own_log.log AND name = $2 AND state = 'parked' AND position > $3
    ORDER BY position
    LIMIT $4
) AS parked
ORDER BY parked.position;
