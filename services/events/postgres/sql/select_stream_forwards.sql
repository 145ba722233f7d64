-- One page of a stream, oldest first, as the fields of a message: each record behind its tag and its
-- length, but for the first, whose tag the caller adds. They come as NULL when they are more than
-- $5 bytes together, or one of them is more than $4: so no page holds more, whatever the stream holds.
--
--   $1 tenant            text
--   $2 revision          bigint   of the first record that may be returned
--   $3 row_count_max     bigint
--   $4 record_bytes_max  integer
--   $5 page_bytes_max    bigint
--   $6 tag               bytea
--   $7 stream            text
--   $8 position_min      bigint   of records that may be returned
SELECT
    count(*) AS record_count,
    max(page.revision) AS last,
    sum(page.byte_count) AS byte_count,
    CASE
        WHEN sum(page.byte_count) <= $5 AND max(page.byte_count) <= $4
        THEN string_agg(
            CASE
                WHEN page.byte_count <= $4
                THEN events.length_prefix(page.byte_count) || page.header || coalesce(page.payload, '')
            END,
            $6
        )
    END AS records
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
-- The records of a log that has rules are asked for in another way: see the room `keeping`.
CROSS JOIN LATERAL (
    SELECT true AS is_read
    WHERE NOT EXISTS (SELECT FROM events.kept_logs WHERE log = own_log.log)
) AS unruled
CROSS JOIN LATERAL (
    SELECT stream
    FROM events.streams
    WHERE log = own_log.log AND name = $7
    LIMIT 1
) AS named
-- Comes in order and is not sorted once more, which would cost a third of the time: a nested
-- loop is the only way to run a LATERAL subquery, and what stands before is one row each.
CROSS JOIN LATERAL (
    SELECT
        revision,
        octet_length(header) + coalesce(octet_length(payload), 0) AS byte_count,
        header,
        payload
    FROM events.records
    WHERE log = own_log.log
      AND stream = named.stream
      AND revision >= $2
      -- Plus 0, so that no plan searches by position: what is left out is next to nothing.
      AND position + 0 >= $8
    ORDER BY revision
    LIMIT $3
) AS page;
