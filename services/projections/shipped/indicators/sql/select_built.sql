-- What the generation was built of that is read, and up to where in the log; no row before it has
-- begun.
--
--   $1 tenant  text
SELECT checkpoints.version, checkpoints.position
FROM projections.states
JOIN projections.checkpoints
    ON checkpoints.tenant = states.tenant
    AND checkpoints.projection = states.projection
    AND checkpoints.generation = states.active_generation
WHERE states.tenant = $1 AND states.projection = 'indicators';
