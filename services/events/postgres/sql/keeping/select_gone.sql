-- Which of the records at some positions are gone, or may come to be without a further rule; no
-- row for one that no rule is about. What is asked after a page was read holds at least as much
-- as what held when it was read. Payloads may be taken between the two, so what is left of a
-- record is told once more.
--
-- One probe of each index per record, said so that no plan can say otherwise.
--
--   $1 tenant     text
--   $2 positions  bigint[]
SELECT
    record.position,
    CASE
        WHEN record.revision < rule.deleted_below THEN 2
        WHEN record.revision < rule.lapsed_below THEN 1
        WHEN record.revision < rule.truncate_before THEN 1
        WHEN record.revision <= newest.revision - rule.max_count THEN 1
        WHEN record.recorded_at < now() - rule.max_age_s * interval '1 second' THEN 1
        WHEN redaction.by_position IS NOT NULL THEN 3
    END AS reason,
    record.is_taken,
    CASE WHEN record.is_taken THEN record.header END AS record_left,
    record.header_byte_count,
    rule.deleted_at,
    rule.deleted_by,
    rule.deleted_position,
    coalesce(lapse.at, rule.retention_at) AS retention_at,
    coalesce(lapse.by, rule.retention_by) AS retention_by,
    coalesce(lapse.position, rule.retention_position) AS retention_position,
    redaction.redacted_at,
    redaction.redacted_by,
    redaction.by_position AS redacted_position,
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
    FROM unnest(rule.lapses)
    WHERE below > record.revision
    ORDER BY below
    LIMIT 1
) AS lapse ON true
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
WHERE rule.stream IS NOT NULL OR redaction.by_position IS NOT NULL OR record.is_taken;
