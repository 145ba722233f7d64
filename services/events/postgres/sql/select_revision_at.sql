-- How many records of a stream lie before a position, which is the revision of the first
-- that does not. 0 when the stream does not exist.
--
-- Revisions are dense and grow with positions, so a binary search over them takes one
-- index probe per step, however long the stream: an index on (log, stream, position)
-- would cost every append more than this costs the few reads that need it.
--
--   $1 tenant    text
--   $2 name      text
--   $3 position  bigint
WITH RECURSIVE search (log, stream, low, high) AS (
    SELECT own_log.log, named.stream, 0::bigint, newest.revision + 1
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
        SELECT revision
        FROM events.records
        WHERE log = own_log.log AND stream = named.stream
        ORDER BY revision DESC
        LIMIT 1
    ) AS newest
    UNION ALL
    SELECT
        search.log,
        search.stream,
        CASE WHEN middle.is_before THEN (low + high) / 2 + 1 ELSE low END,
        CASE WHEN middle.is_before THEN high ELSE (low + high) / 2 END
    FROM search
    CROSS JOIN LATERAL (
        -- In order and one only, so that no plan reads the rest of the stream.
        SELECT position < $3 AS is_before
        FROM events.records
        WHERE log = search.log AND stream = search.stream AND revision >= (low + high) / 2
        ORDER BY revision
        LIMIT 1
    ) AS middle
    WHERE low < high
)
SELECT coalesce(max(low), 0) AS revision
FROM search;
