-- The projections of a tenant with their generations, one row for each.
--
--   $1 tenant       text
--   $2 projections  text[]
SELECT
    states.projection,
    states.active_generation,
    states.building_generation,
    states.rebuild_cause,
    states.is_paused,
    states.poison_policy,
    states.replaced_policy,
    checkpoints.generation,
    checkpoints.fence,
    checkpoints.version,
    checkpoints.incarnation,
    checkpoints.position,
    checkpoints.event_count,
    checkpoints.moved_at,
    checkpoints.stopped_at,
    checkpoints.stop_cause,
    checkpoints.problem,
    checkpoints.failed_position,
    checkpoints.attempt_count,
    (
        SELECT count(*)
        FROM projections.quarantine
        WHERE quarantine.tenant = states.tenant
          AND quarantine.projection = states.projection
          AND quarantine.generation = checkpoints.generation
    ) AS quarantined_count
FROM projections.states
JOIN projections.checkpoints USING (tenant, projection)
WHERE states.tenant = $1
  AND states.projection = ANY ($2::text[])
ORDER BY states.projection, checkpoints.generation;
