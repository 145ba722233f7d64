-- The first record of a stream and then the last, two rows also when they are the same one;
-- no row when the stream does not exist.
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
)
-- Without it the order of the two is the planner's choice.
ORDER BY revision;
