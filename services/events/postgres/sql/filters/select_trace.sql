-- The events that calls with a correlation id appended, from a position on, oldest first, and up to
-- where it was looked for them: one row at least where there is a log, without a position when
-- nothing was found. From the one on with which the headers would be more than $5 bytes
-- together, they are NULL. See the function in 0006_label_blocks.sql.
--
--   $1 tenant            text
--   $2 correlation_id    text
--   $3 position          bigint
--   $4 row_count_max     bigint
--   $5 header_bytes_max  bigint
SELECT
    matches.looked_at,
    matches.is_end,
    at.position,
    page.event_id,
    CASE
        WHEN sum(octet_length(page.header)) OVER (ORDER BY at.position) <= $5 THEN page.header
    END AS header
FROM events.find(
    $1, ARRAY[ROW('{}', '{}', '', '', $2)::events.query], $3, false, $4
) AS matches
-- The log is here: see 0018_place_logs.sql.
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = $1 AND log = matches.log
    LIMIT 1
) AS here
LEFT JOIN LATERAL unnest(matches.positions) AS at (position) ON true
LEFT JOIN LATERAL (
    SELECT event_id, header
    FROM events.records
    WHERE log = matches.log AND records.position = at.position
    LIMIT 1
) AS page ON true
ORDER BY at.position;
