-- The first and the last record of a stream, which may be the same one; no row when the
-- stream does not exist.
--
--   $1 tenant  text
--   $2 stream  text
WITH this AS (
    SELECT log FROM events.logs WHERE tenant = $1
)
(
    SELECT position, revision, record
    FROM events.records
    WHERE log = (SELECT log FROM this) AND stream = $2
    ORDER BY revision
    LIMIT 1
)
UNION ALL
(
    SELECT position, revision, record
    FROM events.records
    WHERE log = (SELECT log FROM this) AND stream = $2
    ORDER BY revision DESC
    LIMIT 1
);
