-- What holds for a stream, the revision of its last record and that of the last event of
-- `$streams`, all as of one instant; no row when the stream does not exist.
--
--   $1 tenant  text
--   $2 name    text
SELECT
    coalesce(newest_rule.revision, -1) AS rules_revision,
    newest.revision AS last_revision,
    rule.deleted_below,
    rule.is_tombstoned,
    coalesce(rule.metadata, '') AS metadata,
    coalesce(rule.metadata_version, 0) AS metadata_version,
    rule.max_age_s,
    rule.max_count,
    rule.truncate_before
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
    SELECT revision
    FROM events.records
    WHERE log = own_log.log AND stream = named.stream
    ORDER BY revision DESC
    LIMIT 1
) AS newest
LEFT JOIN LATERAL (
    SELECT *
    FROM events.stream_rules
    WHERE log = own_log.log AND stream = named.stream
    LIMIT 1
) AS rule ON true
LEFT JOIN LATERAL (
    SELECT records.revision
    FROM (
        SELECT stream
        FROM events.streams
        WHERE log = own_log.log AND name = '$streams'
        LIMIT 1
    ) AS rules
    CROSS JOIN LATERAL (
        SELECT revision
        FROM events.records
        WHERE log = own_log.log AND stream = rules.stream
        ORDER BY revision DESC
        LIMIT 1
    ) AS records
) AS newest_rule ON true;
