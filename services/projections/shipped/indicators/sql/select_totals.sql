-- What all events come to, by indicator and labels.
--
--   $1 tenant  text
SELECT indicator, labels, sum(value) AS value
FROM projection_indicators.indicator_points
WHERE tenant = $1
GROUP BY indicator, labels;
