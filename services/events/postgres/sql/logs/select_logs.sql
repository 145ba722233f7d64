-- The logs behind one, in the order in which they began, where they end here, where they are, and where
-- they are copied to.
--
--   $1 behind     bigint
--   $2 count_max  bigint
SELECT logs.log, logs.tenant, coalesce(newest.position, 0) AS head, logs.moved_to, logs.moving_to
FROM events.logs
LEFT JOIN LATERAL (
    SELECT records.position
    FROM events.records
    WHERE records.log = logs.log
    ORDER BY records.position DESC
    LIMIT 1
) AS newest ON true
WHERE logs.log > $1
ORDER BY logs.log
LIMIT $2;
