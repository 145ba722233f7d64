-- The events that calls with a correlation id appended, behind a position, oldest first. From the
-- one on with which the headers would be more than $5 bytes together, they are NULL.
--
--   $1 tenant            text
--   $2 correlation_id    text
--   $3 after_position    bigint
--   $4 row_count_max     bigint
--   $5 header_bytes_max  bigint
SELECT
    page.position,
    page.event_id,
    CASE WHEN page.header_bytes <= $5 THEN page.header END AS header
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
-- The sum runs along the index, which comes in order, and ends with the page.
CROSS JOIN LATERAL (
    SELECT
        position,
        event_id,
        header,
        sum(octet_length(header)) OVER (ORDER BY position) AS header_bytes
    FROM events.records
    WHERE log = own_log.log
      AND correlation_id = $2
      AND position > $3
    ORDER BY position
    LIMIT $4
) AS page;
