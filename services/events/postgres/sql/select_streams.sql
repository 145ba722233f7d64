-- The streams whose names begin with a prefix and lie behind a name, in the order of their names,
-- each with where its first record is and its last, and when they were recorded.
--
-- The index on names is in their order and read from the place where the page begins; each stream
-- then takes a probe for either end. Its number is the position of its first record.
--
--   $1 tenant     text
--   $2 prefix     text
--   $3 behind     text
--   $4 row count  integer
--   $5 end        text    what all these names lie before
SELECT
    named.name,
    named.stream AS first_position,
    oldest.recorded_at AS created_at,
    newest.position AS last_position,
    newest.revision AS last_revision,
    newest.recorded_at AS updated_at,
    greatest(rule.deleted_below, rule.lapsed_below, rule.taken_below, rule.truncate_before)
        AS kept_from,
    rule.deleted_below,
    rule.is_tombstoned,
    rule.max_count
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs_here
    WHERE tenant = setting.tenant
    LIMIT 1
) AS own_log
CROSS JOIN LATERAL (
    SELECT name, stream
    FROM events.streams
    WHERE log = own_log.log AND name >= $2 AND name > $3 AND name < $5
    ORDER BY name
    LIMIT $4
) AS named
CROSS JOIN LATERAL (
    SELECT recorded_at
    FROM events.records
    WHERE log = own_log.log AND position = named.stream
    LIMIT 1
) AS oldest
CROSS JOIN LATERAL (
    SELECT position, revision, recorded_at
    FROM events.records
    WHERE log = own_log.log AND stream = named.stream
    ORDER BY revision DESC
    LIMIT 1
) AS newest
LEFT JOIN LATERAL (
    SELECT *
    FROM events.stream_rules
    WHERE log = own_log.log AND stream = named.stream
    LIMIT 1
) AS rule ON true
ORDER BY named.name;
