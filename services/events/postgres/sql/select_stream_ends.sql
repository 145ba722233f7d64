-- The first record of a stream and then the last, two rows also when they are the same one;
-- no row when the stream does not exist.
--
--   $1 tenant  text
--   $2 stream  text
SELECT ends.position, ends.revision, ends.record
FROM set_config('girih.tenant', $1, true) AS told (tenant)
CROSS JOIN LATERAL (
    SELECT log
    FROM events.logs
    WHERE tenant = told.tenant
    LIMIT 1
) AS this
CROSS JOIN LATERAL (
    (
        SELECT position, revision, record
        FROM events.records
        WHERE log = this.log AND stream = $2
        ORDER BY revision
        LIMIT 1
    )
    UNION ALL
    (
        SELECT position, revision, record
        FROM events.records
        WHERE log = this.log AND stream = $2
        ORDER BY revision DESC
        LIMIT 1
    )
) AS ends
-- Without it the order of the two is the planner's choice.
ORDER BY ends.revision;
