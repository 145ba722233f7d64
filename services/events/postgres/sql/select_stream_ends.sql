-- Where the first record of a stream is and then the last, when they were recorded, and what is kept
-- of it; two rows
-- also when they are the same one; no row when the stream does not exist.
--
--   $1 tenant  text
--   $2 name    text
SELECT
    ends.position,
    ends.revision,
    ends.recorded_at,
    greatest(rule.deleted_below, rule.lapsed_below, rule.taken_below, rule.truncate_before)
        AS kept_from,
    rule.deleted_below,
    rule.is_tombstoned,
    rule.max_age_s,
    rule.max_count,
    rule.truncate_before,
    rule.metadata,
    rule.metadata_version
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT stream
    FROM events.streams
    WHERE log = own_log.log AND name = $2
    LIMIT 1
) AS named
CROSS JOIN LATERAL (
    (
        SELECT position, revision, recorded_at
        FROM events.records
        WHERE log = own_log.log AND stream = named.stream
        ORDER BY revision
        LIMIT 1
    )
    UNION ALL
    (
        SELECT position, revision, recorded_at
        FROM events.records
        WHERE log = own_log.log AND stream = named.stream
        ORDER BY revision DESC
        LIMIT 1
    )
) AS ends
LEFT JOIN LATERAL (
    SELECT *
    FROM events.stream_rules
    WHERE log = own_log.log AND stream = named.stream
    LIMIT 1
) AS rule ON true
-- Without it the order of the two is the planner's choice.
ORDER BY ends.revision;
