-- Which of the records at some positions are gone and by what first, or may come to be without a
-- further rule; no row for one that no rule is about. What is asked after a page was read holds at least as much
-- as what held when it was read. Payloads may be taken between the two, so what is left of a
-- record is told once more.
--
-- One probe of each index per record, said so that no plan can say otherwise.
--
--   $1 tenant     text
--   $2 positions  bigint[]
SELECT
    record.position,
    fate.is_hidden,
    CASE
        -- What is gone cannot be redacted any more, so that came first.
        WHEN redaction.by_position IS NOT NULL THEN 3
        WHEN cause.below IS NOT NULL THEN coalesce(cause.reason, 1)
        WHEN fate.is_hidden THEN 1
    END AS reason,
    record.is_taken,
    CASE WHEN record.is_taken THEN record.header END AS record_left,
    record.header_byte_count,
    coalesce(redaction.redacted_at, cause.at, rule.retention_at) AS gone_at,
    coalesce(redaction.redacted_by, cause.by, rule.retention_by) AS gone_by,
    coalesce(redaction.by_position, cause.position, rule.retention_position) AS gone_position,
    record.recorded_at + rule.max_age_s * interval '1 second' AS lapses_at,
    newest.revision - rule.max_count + 1 AS kept_from
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN unnest($2::bigint[]) AS asked (position)
CROSS JOIN LATERAL (
    SELECT
        position,
        stream,
        revision,
        recorded_at,
        payload IS NULL AS is_taken,
        header,
        octet_length(header) AS header_byte_count
    FROM events.records
    WHERE log = own_log.log AND position = asked.position
    LIMIT 1
) AS record
LEFT JOIN LATERAL (
    SELECT *
    FROM events.stream_rules
    WHERE log = own_log.log AND stream = record.stream
    LIMIT 1
) AS rule ON true
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
    WHERE log = own_log.log AND position = record.position
    LIMIT 1
) AS redaction ON true
LEFT JOIN LATERAL (
    SELECT revision
    FROM events.records
    WHERE rule.max_count IS NOT NULL AND log = own_log.log AND stream = record.stream
    ORDER BY revision DESC
    LIMIT 1
) AS newest ON true
CROSS JOIN LATERAL (
    SELECT coalesce(
        record.revision < greatest(rule.deleted_below, rule.lapsed_below, rule.truncate_before)
        OR record.revision <= newest.revision - rule.max_count
        OR record.recorded_at < now() - rule.max_age_s * interval '1 second',
        false
    ) AS is_hidden
) AS fate
WHERE rule.stream IS NOT NULL OR redaction.by_position IS NOT NULL OR record.is_taken;
