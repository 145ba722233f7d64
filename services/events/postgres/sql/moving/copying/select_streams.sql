-- The streams that begin behind a position up to another, as text.
--
--   $1 tenant  text
--   $2 behind  bigint
--   $3 upto    bigint
SELECT page.stream::text AS stream
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT streams AS stream
    FROM events.streams
    WHERE log = own_log.log AND streams.stream > $2 AND streams.stream <= $3
    LIMIT $3 - $2
) AS page;
