-- Where the event of a revision is; no row when the stream has none, or it was deleted.
--
--   $1 tenant    text
--   $2 name      text
--   $3 revision  bigint
SELECT match.position
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT stream
    FROM events.streams
    WHERE log = own_log.log AND name = $2
    LIMIT 1
) AS named
CROSS JOIN LATERAL (
    SELECT position
    FROM events.records
    WHERE log = own_log.log
      AND stream = named.stream
      AND revision = $3
      AND NOT EXISTS (
          SELECT
          FROM events.stream_rules
          WHERE stream_rules.log = own_log.log
            AND stream_rules.stream = named.stream
            AND stream_rules.deleted_below > $3
      )
    LIMIT 1
) AS match;
