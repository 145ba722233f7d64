-- Where events are that others name as their causes, and which calls appended them; no row for an
-- id that is not stored. One probe of the indexes per id.
--
--   $1 tenant     text
--   $2 event_ids  uuid[]
SELECT stored.event_id, stored.position, stored.correlation_id, named.name, stored.type
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN unnest($2::uuid[]) AS asked (event_id)
CROSS JOIN LATERAL (
    SELECT
        records.event_id,
        records.position,
        records.stream,
        records.correlation_id,
        records.type
    FROM events.records
    WHERE records.log = own_log.log AND records.event_id = asked.event_id
    LIMIT 1
) AS stored
CROSS JOIN LATERAL (
    SELECT streams.name
    FROM events.streams
    -- Said as a range and in order, so that no plan looks through all names for the number.
    WHERE streams.log = own_log.log
      AND streams.stream >= stored.stream
      AND streams.stream <= stored.stream
    ORDER BY streams.stream
    LIMIT 1
) AS named;
