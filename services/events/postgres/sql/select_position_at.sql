-- The position of the first record that was made at a time or later; one behind the last when none
-- was, and 1 when there is no such log.
--
-- Times grow with positions, so a binary search takes one index probe per step, however long the
-- log: an index on times would cost every append more than this costs the few reads that need it.
--
--   $1 tenant  text
--   $2 time    timestamptz
WITH RECURSIVE search (log, low, high) AS (
    SELECT own_log.log, 1::bigint, newest.position + 1
    FROM set_config('girih.tenant', $1, true) AS setting (tenant)
    CROSS JOIN LATERAL (
        SELECT log
        FROM events.logs_here
        WHERE tenant = setting.tenant
        LIMIT 1
    ) AS own_log
    CROSS JOIN LATERAL (
        SELECT position
        FROM events.records
        WHERE log = own_log.log
        ORDER BY position DESC
        LIMIT 1
    ) AS newest
    UNION ALL
    SELECT
        search.log,
        CASE WHEN middle.is_before THEN (low + high) / 2 + 1 ELSE low END,
        CASE WHEN middle.is_before THEN high ELSE (low + high) / 2 END
    FROM search
    CROSS JOIN LATERAL (
        -- In order and one only, so that no plan reads the rest of the log.
        SELECT recorded_at < $2 AS is_before
        FROM events.records
        WHERE log = search.log AND position >= (low + high) / 2
        ORDER BY position
        LIMIT 1
    ) AS middle
    WHERE low < high
)
SELECT coalesce(min(low) FILTER (WHERE low = high), 1) AS position
FROM search;
