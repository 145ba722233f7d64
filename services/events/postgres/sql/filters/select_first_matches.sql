-- The first event that one of some queries means, from a position on, and up to where it was looked
-- for it: NULL when nothing was found so far. No row when there is no such log. See the function in
-- 0006_label_blocks.sql, which takes no longer than some tenths of a second.
--
--   $1 tenant    text
--   $2 queries   events.query[]
--   $3 position  bigint  of the first event that may be found
SELECT found.looked_at, found.is_end, found.positions[1] AS position, first.event_id
FROM events.find($1, $2, $3, false, 1) AS found
LEFT JOIN LATERAL (
    SELECT event_id
    FROM events.records
    WHERE log = found.log AND records.position = found.positions[1]
    LIMIT 1
) AS first ON true;
