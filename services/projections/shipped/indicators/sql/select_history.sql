-- What an indicator was in windows of time, in order of time and labels, and what it had come to by
-- the end of each. Windows before those asked for count in the latter.
--
--   $1 tenant     text
--   $2 indicator  text
--   $3 since      timestamptz  windows that begin then or later
--   $4 before     timestamptz  windows that begin before
--   $5 count_max  bigint
SELECT window_start, labels, value, level, event_count
FROM (
    SELECT
        window_start,
        labels,
        value,
        sum(value) OVER (PARTITION BY labels ORDER BY window_start) AS level,
        event_count
    FROM projection_indicators.indicator_points
    WHERE tenant = $1 AND indicator = $2 AND window_start < $4
) AS points
WHERE window_start >= $3
ORDER BY window_start, labels
LIMIT $5;
