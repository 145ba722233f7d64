-- The next records of a stream, oldest first, as many as are rewritten at once, each with what its
-- payload has to go by, what came first; the first that keeps its payload ends them. A payload of NULL is gone already.
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
        CASE
            WHEN NOT fate.is_hidden THEN NULL
            WHEN redaction.by_position IS NOT NULL THEN 3
            ELSE coalesce(cause.reason, 1)
        END AS reason,
        coalesce(redaction.redacted_at, cause.at, rule.retention_at) AS at,
        coalesce(redaction.redacted_by, cause.by, rule.retention_by) AS actor,
        coalesce(redaction.by_position, cause.position, rule.retention_position) AS by_position,
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
        SELECT coalesce(
            record.revision < greatest(rule.deleted_below, rule.lapsed_below, rule.truncate_before)
            OR record.revision <= newest.revision - rule.max_count
            OR record.recorded_at < now() - rule.max_age_s * interval '1 second',
            false
        ) AS is_hidden
    ) AS fate
    LEFT JOIN LATERAL (
        SELECT *
        FROM (
            SELECT *
            FROM unnest(rule.lapses)
            UNION ALL
            SELECT rule.deleted_below, rule.deleted_position, rule.deleted_at, rule.deleted_by, 2
        ) AS ended (below, position, at, by, reason)
        WHERE ended.below > record.revision
        ORDER BY ended.below, ended.position
        LIMIT 1
    ) AS cause ON true
    LEFT JOIN LATERAL (
        SELECT *
        FROM events.redactions
        WHERE log = rule.log AND position = record.position
        LIMIT 1
    ) AS redaction ON true
    WHERE rule.log = $1 AND rule.stream = $2
    WINDOW due AS (ORDER BY record.revision)
) AS records
WHERE bytes_before <= $4
ORDER BY revision;
