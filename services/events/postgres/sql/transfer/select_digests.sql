-- Digests of the records of a log from a position on, with what leaf digests are made of: as many
-- as there are to be, and no more than the first whose headers together are larger than they may.
--
--   $1 tenant     text
--   $2 position   bigint
--   $3 limit      bigint
--   $4 bytes_max  bigint  of headers together, but for the first
SELECT page.position, page.digest, page.payload_digest, page.header
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT
        position,
        digest,
        payload_digest,
        header,
        sum(octet_length(header)) OVER so_far - octet_length(header) AS bytes_before
    FROM events.records
    WHERE log = own_log.log AND position >= $2
    WINDOW so_far AS (ORDER BY position)
    ORDER BY position
    LIMIT $3
) AS page
WHERE page.bytes_before <= $4
ORDER BY page.position;
