-- Makes the generation that was built the active one, for every statement that begins after this
-- has been committed. Answers it; no row when it is not the one being built any more, or is behind
-- what readers have seen already.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
--   $4 is_behind_allowed  boolean  what readers have seen is of another version or log
UPDATE projections.states
SET active_generation = building_generation,
    building_generation = NULL,
    rebuild_cause = NULL
WHERE tenant = $1
  AND projection = $2
  AND building_generation = $3
  AND (
      $4
      OR (
          SELECT position
          FROM projections.checkpoints
          WHERE tenant = $1 AND projection = $2 AND generation = $3
      ) >= (
          SELECT position
          FROM projections.checkpoints
          WHERE tenant = $1 AND projection = $2 AND generation = states.active_generation
      )
  )
RETURNING active_generation;
