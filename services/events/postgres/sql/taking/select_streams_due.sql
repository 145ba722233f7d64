-- The streams of the log with a rule, in the order of their numbers, and whether the first record
-- that may have a payload has to lose it.
--
--   $1 log           bigint
--   $2 after_stream  bigint  the number behind which they lie
--   $3 limit         bigint
SELECT
    rule.stream,
    coalesce(
        first.revision < greatest(rule.deleted_below, rule.lapsed_below, rule.truncate_before)
        OR first.revision <= newest.revision - rule.max_count
        OR first.recorded_at < now() - rule.max_age_s * interval '1 second',
        false
    ) AS is_due
FROM (
    SELECT *
    FROM events.stream_rules
    WHERE log = $1 AND stream > $2
    ORDER BY stream
    LIMIT $3
) AS rule
LEFT JOIN LATERAL (
    SELECT revision, recorded_at
    FROM events.records
    WHERE log = rule.log AND stream = rule.stream AND revision >= rule.taken_below
    ORDER BY revision
    LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT revision
    FROM events.records
    WHERE rule.max_count IS NOT NULL AND log = rule.log AND stream = rule.stream
    ORDER BY revision DESC
    LIMIT 1
) AS newest ON true
ORDER BY rule.stream;
