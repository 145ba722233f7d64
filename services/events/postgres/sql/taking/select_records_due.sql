-- The next records of a stream, oldest first, as many as are rewritten at once, each with why its
-- payload has to go; the first that keeps its payload ends them. A payload of NULL is gone already.
--
--   $1 log        bigint
--   $2 stream     bigint
--   $3 limit      bigint
--   $4 bytes_max  bigint  of payloads together, but for the first
SELECT *
FROM (
    SELECT
        record.position,
        record.revision,
        record.header,
        record.payload,
        fate.reason,
        CASE fate.reason WHEN 2 THEN rule.deleted_at ELSE coalesce(lapse.at, rule.retention_at) END
            AS at,
        CASE fate.reason WHEN 2 THEN rule.deleted_by ELSE coalesce(lapse.by, rule.retention_by) END
            AS actor,
        CASE fate.reason
            WHEN 2 THEN rule.deleted_position
            ELSE coalesce(lapse.position, rule.retention_position)
        END AS by_position,
        sum(octet_length(coalesce(record.payload, ''))) OVER due
            - octet_length(coalesce(record.payload, '')) AS bytes_before
    FROM events.stream_rules AS rule
    LEFT JOIN LATERAL (
        SELECT revision
        FROM events.records
        WHERE rule.max_count IS NOT NULL AND log = rule.log AND stream = rule.stream
        ORDER BY revision DESC
        LIMIT 1
    ) AS newest ON true
    CROSS JOIN LATERAL (
        SELECT position, revision, recorded_at, header, payload
        FROM events.records
        WHERE log = rule.log AND stream = rule.stream AND revision >= rule.taken_below
        ORDER BY revision
        LIMIT $3
    ) AS record
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN record.revision < rule.deleted_below THEN 2
            WHEN record.revision < rule.lapsed_below THEN 1
            WHEN record.revision < rule.truncate_before THEN 1
            WHEN record.revision <= newest.revision - rule.max_count THEN 1
            WHEN record.recorded_at < now() - rule.max_age_s * interval '1 second' THEN 1
        END AS reason
    ) AS fate
    LEFT JOIN LATERAL (
        SELECT *
        FROM unnest(rule.lapses)
        WHERE below > record.revision
        ORDER BY below
        LIMIT 1
    ) AS lapse ON true
    WHERE rule.log = $1 AND rule.stream = $2
    WINDOW due AS (ORDER BY record.revision)
) AS records
WHERE bytes_before <= $4
ORDER BY revision;
