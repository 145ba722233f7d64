-- The newest snapshot of a stream before a revision, and where the event that it was taken at is
-- now, NULL where the stream has none of that revision or it was deleted; no row when there is no snapshot.
--
--   $1 tenant    text
--   $2 name      text
--   $3 revision  bigint
SELECT newest.revision, newest.schema_version, newest.content, newest.is_json, newest.content_type,
    newest.position, newest.incarnation, newest.seal, newest.saved_at, event.position AS current_position
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
    SELECT revision, schema_version, content, is_json, content_type, position, incarnation, seal, saved_at
    FROM events.snapshots
    WHERE log = own_log.log AND stream = named.stream AND revision < $3
    ORDER BY revision DESC
    LIMIT 1
) AS newest
LEFT JOIN LATERAL (
    SELECT position
    FROM events.records
    WHERE log = own_log.log
      AND stream = named.stream
      AND revision = newest.revision
      AND NOT EXISTS (
          SELECT
          FROM events.stream_rules
          WHERE stream_rules.log = own_log.log
            AND stream_rules.stream = named.stream
            AND stream_rules.deleted_below > newest.revision
      )
    LIMIT 1
) AS event ON true;
