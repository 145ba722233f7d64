-- The payload of a record, or its digest when it was taken; the other is NULL.
--
--   $1 tenant    text
--   $2 position  bigint
SELECT found.payload, found.payload_digest
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT payload, payload_digest
    FROM events.records
    WHERE log = own_log.log AND position = $2
    LIMIT 1
) AS found;
