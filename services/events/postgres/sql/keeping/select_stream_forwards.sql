-- One page of a stream, oldest first. A record of more
-- than $4 bytes comes as NULL, and so do all with which the page has more than $5 bytes, whatever the stream holds.
--
--   $1 tenant            text
--   $2 revision          bigint  of the first record that may be returned
--   $3 row_count_max     bigint
--   $4 record_bytes_max  integer
--   $5 page_bytes_max    bigint
--   $6 stream            text
--   $7 position_min      bigint  of records that may be returned
--   $8 shows_gone        boolean  records of revisions that are gone are returned too
SELECT page.revision, page.record
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
    WHERE log = own_log.log AND name = $6
    LIMIT 1
) AS named
-- What lies before it is gone, and passed over at once.
CROSS JOIN LATERAL (
    SELECT
        coalesce(max(greatest(deleted_below, lapsed_below, taken_below, truncate_before)), 0)
            AS revision
    FROM events.stream_rules
    WHERE NOT $8 AND log = own_log.log AND stream = named.stream
) AS first
-- Comes in order and is not sorted once more, which would cost a third of the time: a nested
-- loop is the only way to run a LATERAL subquery, and what stands before is one row each.
CROSS JOIN LATERAL (
    SELECT
        revision,
        CASE
            WHEN octet_length(header) + octet_length(coalesce(payload, '')) <= $4
             AND sum(octet_length(header) + octet_length(coalesce(payload, ''))) OVER so_far <= $5
            THEN header || coalesce(payload, '')
        END AS record
    FROM events.records
    WHERE log = own_log.log
      AND stream = named.stream
      AND revision >= greatest($2, first.revision)
      -- Plus 0, so that no plan searches by position: what is left out is next to nothing.
      AND position + 0 >= $7
    WINDOW so_far AS (ORDER BY revision)
    ORDER BY revision
    LIMIT $3
) AS page;
