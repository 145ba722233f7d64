-- The id and the stream of the record at a position; no row when there is none.
--
--   $1 tenant    text
--   $2 position  bigint
SELECT record.event_id, named.name
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT event_id, stream
    FROM events.records
    WHERE log = own_log.log AND position = $2
    LIMIT 1
) AS record
CROSS JOIN LATERAL (
    SELECT name
    FROM events.streams
    WHERE log = own_log.log AND stream = record.stream
    LIMIT 1
) AS named;
