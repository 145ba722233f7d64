-- The first events that one of some queries means, from a position on, and up to where it was looked
-- for them: one row at least where there is such a log, without a position when nothing was found
-- so far. See the function in 0006_label_blocks.sql, which takes no longer than some tenths of a
-- second.
--
--   $1 tenant     text
--   $2 queries    events.query[]
--   $3 position   bigint  of the first event that may be found
--   $4 count_max  bigint
SELECT matches.looked_at, matches.is_end, at.position, first.event_id
FROM events.find($1, $2, $3, false, $4) AS matches
-- The log is here: see 0018_place_logs.sql.
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = $1 AND log = matches.log
    LIMIT 1
) AS here
LEFT JOIN LATERAL unnest(matches.positions) AS at (position) ON true
LEFT JOIN LATERAL (
    SELECT event_id
    FROM events.records
    WHERE log = matches.log AND records.position = at.position
    LIMIT 1
) AS first ON true
ORDER BY at.position;
