-- Up to where in the log the generation holds it that is read; no row before it has begun.
--
--   $1 tenant  text
SELECT checkpoints.position
FROM projections.states
JOIN projections.checkpoints
    ON checkpoints.tenant = states.tenant
    AND checkpoints.projection = states.projection
    AND checkpoints.generation = states.active_generation
WHERE states.tenant = $1 AND states.projection = 'lattices';
