-- Asks that an event be given up that was put aside; answers how many were found.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 position    bigint
WITH asked AS (
    UPDATE projections.quarantine
    SET asked = 'discard'
    FROM projections.states
    WHERE states.tenant = quarantine.tenant
      AND states.projection = quarantine.projection
      AND states.active_generation = quarantine.generation
      AND quarantine.tenant = $1
      AND quarantine.projection = $2
      AND quarantine.position = $3
    RETURNING 1
)
SELECT count(*)
FROM asked;
