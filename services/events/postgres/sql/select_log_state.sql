-- The head of a log and the numbers and last revisions of some streams, all as of one instant.
-- One row per stream, NULL where the stream has no records; one row when none is asked
-- for; no row when nobody has appended to the log.
--
--   $1 tenant   text
--   $2 names    text[]
SELECT this.head, asked.name, named.stream, last.revision
FROM set_config('girih.tenant', $1, true) AS told (tenant)
CROSS JOIN LATERAL (
    SELECT log, head
    FROM events.logs
    WHERE tenant = told.tenant
    LIMIT 1
) AS this
LEFT JOIN unnest($2::text[]) AS asked (name) ON true
LEFT JOIN LATERAL (
    SELECT streams.stream
    FROM events.streams
    WHERE streams.log = this.log AND streams.name = asked.name
    LIMIT 1
) AS named ON true
LEFT JOIN LATERAL (
    SELECT records.revision
    FROM events.records
    WHERE records.log = this.log AND records.stream = named.stream
    ORDER BY records.revision DESC
    LIMIT 1
) AS last ON true;
