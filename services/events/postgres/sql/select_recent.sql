-- What queries ask about the events from behind a position up to another, oldest first.
--
--   $1 tenant    text
--   $2 position  bigint  exclusive
--   $3 upto      bigint  inclusive
SELECT page.event_id, named.name, page.type, page.tags, page.correlation_id
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT event_id, stream, type, tags, correlation_id
    FROM events.records
    WHERE log = own_log.log AND position > $2 AND position <= $3
    ORDER BY position
    LIMIT $3 - $2
) AS page
CROSS JOIN LATERAL (
    SELECT name
    FROM events.streams
    -- Said as a range and in order, so that no plan looks through all names for the number.
    WHERE log = own_log.log AND stream >= page.stream AND stream <= page.stream
    ORDER BY stream
    LIMIT 1
) AS named;
