-- The head of a log, when its last record was made, and the numbers and last revisions of some
-- streams, all as of one instant. The first two are NULL while the log has no records. One row per stream, NULL where the stream has
-- no records; one row when none is asked for; no row when nobody has appended to the log.
-- A stream that was deleted has an ending of 1, and of 2 when it is tombstoned.
--
--   $1 tenant   text
--   $2 names    text[]
SELECT
    own_log.head,
    own_log.recorded_at,
    asked.name,
    named.stream,
    last.revision,
    CASE
        WHEN rule.is_tombstoned THEN 2
        WHEN last.revision < rule.deleted_below THEN 1
    END AS ending
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT logs.log, newest.position AS head, newest.recorded_at
    FROM events.logs_here AS logs
    LEFT JOIN LATERAL (
        SELECT records.position, records.recorded_at
        FROM events.records
        WHERE records.log = logs.log
        ORDER BY records.position DESC
        LIMIT 1
    ) AS newest ON true
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
LEFT JOIN unnest($2::text[]) AS asked (name) ON true
LEFT JOIN LATERAL (
    SELECT streams.stream
    FROM events.streams
    WHERE streams.log = own_log.log AND streams.name = asked.name
    LIMIT 1
) AS named ON true
LEFT JOIN LATERAL (
    SELECT records.revision
    FROM events.records
    WHERE records.log = own_log.log AND records.stream = named.stream
    ORDER BY records.revision DESC
    LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT deleted_below, is_tombstoned
    FROM events.stream_rules
    WHERE stream_rules.log = own_log.log AND stream_rules.stream = named.stream
    LIMIT 1
) AS rule ON true;
