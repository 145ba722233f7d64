-- Adds what events come to.
--
--   $1 tenant        text
--   $2 generation    bigint
--   $3 indicator     text
--   $4 labels        text[]
--   $5 window_start  timestamptz
--   $6 value         numeric
--   $7 event_count   bigint
INSERT INTO projection_indicators.points (
    tenant, generation, indicator, labels, window_start, value, event_count
)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, generation, indicator, window_start, labels) DO UPDATE
SET value = points.value + excluded.value, event_count = points.event_count + excluded.event_count;
