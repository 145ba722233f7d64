-- The types or the categories that lie behind a name, in the order of their names, with their
-- counts.
--
--   $1 tenant  text
--   $2 kind    text    `type` or `category`
--   $3 behind  text
--   $4 limit   bigint
SELECT page.name, page.event_count, page.stream_count
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT name, event_count, stream_count
    FROM events.tallies
    WHERE log = own_log.log AND kind = $2 AND name > $3
    ORDER BY name
    LIMIT $4
) AS page
ORDER BY page.name;
