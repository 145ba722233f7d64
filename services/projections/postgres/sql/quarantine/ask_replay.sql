-- Asks that the events of a stream, or of all, be applied that were put aside; answers how many.
-- One that is to be given up is left to that.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 stream      text  empty for all
WITH asked AS (
    UPDATE projections.quarantine
    SET asked = 'replay'
    FROM projections.states
    WHERE states.tenant = quarantine.tenant
      AND states.projection = quarantine.projection
      AND states.active_generation = quarantine.generation
      AND quarantine.tenant = $1
      AND quarantine.projection = $2
      AND ($3 = '' OR quarantine.stream = $3)
      AND quarantine.asked IS DISTINCT FROM 'discard'
    RETURNING 1
)
SELECT count(*)
FROM asked;
