-- One page of a log, oldest first. A record of more
-- than $4 bytes comes as NULL, and so do all with which the page has more than $5 bytes, whatever the log holds.
--
--   $1 tenant            text
--   $2 position          bigint  of the first record that may be returned
--   $3 row_count_max     bigint
--   $4 record_bytes_max  integer
--   $5 page_bytes_max    bigint
SELECT page.position, page.record
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
-- Comes in order and is not sorted once more, which would cost a third of the time: a nested
-- loop is the only way to run a LATERAL subquery, and `setting` and `own_log` are one row each.
CROSS JOIN LATERAL (
    SELECT
        position,
        CASE
            WHEN octet_length(header) + octet_length(coalesce(payload, '')) <= $4
             AND sum(octet_length(header) + octet_length(coalesce(payload, ''))) OVER so_far <= $5
            THEN header || coalesce(payload, '')
        END AS record
    FROM events.records
    WHERE log = own_log.log
      AND position >= $2
    WINDOW so_far AS (ORDER BY position)
    ORDER BY position
    LIMIT $3
) AS page;
