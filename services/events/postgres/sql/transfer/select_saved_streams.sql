-- The streams of a log that have snapshots, in the order of their numbers: one look into the
-- index for each, however many snapshots it has.
--
--   $1 tenant  text
--   $2 after   bigint  the number behind which they lie
--   $3 limit   bigint
WITH RECURSIVE saved (log, stream, count) AS (
    SELECT own_log.log, $2::bigint, 0
    FROM set_config('girih.tenant', $1, true) AS setting (tenant)
    CROSS JOIN LATERAL (
        SELECT log
        FROM events.logs_here
        WHERE tenant = setting.tenant
        LIMIT 1
    ) AS own_log
    UNION ALL
    SELECT saved.log, next.stream, saved.count + 1
    FROM saved
    CROSS JOIN LATERAL (
        SELECT snapshots.stream
        FROM events.snapshots
        WHERE snapshots.log = saved.log AND snapshots.stream > saved.stream
        ORDER BY snapshots.stream
        LIMIT 1
    ) AS next
    WHERE saved.count < $3
)
SELECT saved.stream, named.name
FROM saved
CROSS JOIN LATERAL (
    SELECT name
    FROM events.streams
    WHERE log = saved.log AND stream = saved.stream
    LIMIT 1
) AS named
WHERE saved.count > 0
ORDER BY saved.stream;
