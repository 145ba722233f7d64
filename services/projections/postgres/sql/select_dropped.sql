-- The generations of a projection that are neither read nor built any more.
--
--   $1 tenant      text
--   $2 projection  text
SELECT generation
FROM projections.checkpoints
JOIN projections.states USING (tenant, projection)
WHERE tenant = $1
  AND projection = $2
  AND generation <> active_generation
  AND generation IS DISTINCT FROM building_generation;
