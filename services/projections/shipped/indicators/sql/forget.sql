-- Deletes rows of a generation that nobody reads.
--
--   $1 tenant         text
--   $2 generation     bigint
--   $3 row_count_max  bigint
WITH deleted AS (
    DELETE FROM projection_indicators.points
    WHERE (tenant, generation, indicator, window_start, labels) IN (
        SELECT tenant, generation, indicator, window_start, labels
        FROM projection_indicators.points
        WHERE tenant = $1 AND generation = $2
        LIMIT $3
    )
    RETURNING 1
)
SELECT count(*) AS row_count
FROM deleted;
