-- One page of the events of a log that are asked for, and up to where it was looked for them: one
-- row at least where there is such a log, without a position when nothing was found. See the
-- function in 0006_label_blocks.sql. A record of more than $6 bytes comes as NULL: so no page
-- holds more than $5 times $6 bytes, whatever the log holds.
--
--   $1 tenant            text
--   $2 queries           events.query[]
--   $3 position          bigint  of the first record that may be returned
--   $4 is_backwards      boolean
--   $5 row_count_max     bigint
--   $6 record_bytes_max  integer
SELECT
    matches.looked_at,
    matches.is_end,
    matches.unlabelled,
    at.position,
    page.record,
    coalesce(kept.is_kept, false) AS is_kept
FROM events.find($1, $2, $3, $4, $5) AS matches
-- The log is here: see 0018_place_logs.sql.
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = $1 AND log = matches.log
    LIMIT 1
) AS here
-- Whether the log has rules, by which some of the records may be gone.
LEFT JOIN LATERAL (
    SELECT true AS is_kept
    FROM events.kept_logs
    WHERE log = matches.log
    LIMIT 1
) AS kept ON true
LEFT JOIN LATERAL unnest(matches.positions) AS at (position) ON true
LEFT JOIN LATERAL (
    SELECT
        CASE
            WHEN octet_length(header) + octet_length(coalesce(payload, '')) <= $6
            THEN header || coalesce(payload, '')
        END AS record
    FROM events.records
    WHERE log = matches.log AND records.position = at.position
    LIMIT 1
) AS page ON true;
