-- One page of a log, oldest first, with the stream and the revision of each record and what
-- filters ask about it, for those who look for some of them. A record of more than $4 bytes comes as NULL: so
-- no page holds more than $3 times $4 bytes, whatever the log holds.
--
--   $1 tenant            text
--   $2 position          bigint  of the first record that may be returned
--   $3 row_count_max     bigint
--   $4 record_bytes_max  integer
--   $5 is_kept           boolean  the log may have rules: else one that has any answers nothing
SELECT
    page.position,
    page.record,
    named.name,
    page.revision,
    page.type,
    page.tags,
    page.correlation_id
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT true AS is_read
    WHERE $5 OR NOT EXISTS (SELECT FROM events.kept_logs WHERE log = own_log.log)
) AS unruled
-- Comes in order and is not sorted once more, which would cost a third of the time: a nested
-- loop is the only way to run a LATERAL subquery, and `setting` and `own_log` are one row each.
CROSS JOIN LATERAL (
    SELECT
        position,
        CASE
            WHEN octet_length(header) + octet_length(coalesce(payload, '')) <= $4
            THEN header || coalesce(payload, '')
        END AS record,
        stream,
        revision,
        type,
        tags,
        correlation_id
    FROM events.records
    WHERE log = own_log.log
      AND position >= $2
    ORDER BY position
    LIMIT $3
) AS page
CROSS JOIN LATERAL (
    SELECT name
    FROM events.streams
    -- Said as a range and in order, so that no plan looks through all names for the number.
    WHERE log = own_log.log AND stream >= page.stream AND stream <= page.stream
    ORDER BY stream
    LIMIT 1
) AS named;
