-- A page of the events that the active generation of a projection has put aside, and how many there
-- are on all pages: one row without an event where there is none on this.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 behind      bigint
--   $4 count_max   bigint
WITH aside AS (
    SELECT quarantine.*
    FROM projections.quarantine
    JOIN projections.states
        ON states.tenant = quarantine.tenant
        AND states.projection = quarantine.projection
        AND states.active_generation = quarantine.generation
    WHERE quarantine.tenant = $1 AND quarantine.projection = $2
)
SELECT
    total.count AS total_count,
    page.position,
    page.stream,
    page.type,
    page.event_id,
    page.problem,
    page.is_held_back,
    page.attempt_count,
    page.set_aside_at,
    page.asked
FROM (SELECT count(*) FROM aside) AS total
LEFT JOIN LATERAL (
    SELECT *
    FROM aside
    WHERE position > $3
    ORDER BY position
    LIMIT $4
) AS page ON true
ORDER BY page.position;
