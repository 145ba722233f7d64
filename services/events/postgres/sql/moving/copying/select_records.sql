-- Records behind a position as text, oldest first: so many, and so many bytes together, at most, but for
-- the first.
--
--   $1 tenant     text
--   $2 behind     bigint
--   $3 count_max  bigint
--   $4 bytes_max  bigint
SELECT page.position, page.record::text AS record
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT
        records.position,
        records AS record,
        sum(octet_length(header) + coalesce(octet_length(payload), 0)) OVER (
            ORDER BY records.position
        ) AS byte_count,
        row_number() OVER (ORDER BY records.position) AS number
    FROM (
        SELECT *
        FROM events.records
        WHERE log = own_log.log AND records.position > $2
        ORDER BY records.position
        LIMIT $3
    ) AS records
) AS page
WHERE page.byte_count <= $4 OR page.number = 1
ORDER BY page.position;
