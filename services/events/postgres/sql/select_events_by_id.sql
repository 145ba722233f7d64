-- Where the events with these ids are; no row for an id that is not stored.
--
-- One probe of the index per id, said so that no plan can say otherwise: one made while the
-- table is small would read all of the log once it has grown, until it is analysed.
--
--   $1 tenant     text
--   $2 event_ids  uuid[]
SELECT stored.event_id, stored.position, stored.revision, stored.recorded_at, stored.digest
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
        records.revision,
        records.recorded_at,
        records.digest
    FROM events.records
    WHERE records.log = own_log.log AND records.event_id = asked.event_id
    LIMIT 1
) AS stored;
