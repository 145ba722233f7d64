-- Begins a generation beside the active one, in place of another that was being built. Answers its
-- number; no row when the projection is not known for the tenant.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 version     text
--   $4 cause       text
--   $5 fence       bigint
WITH newest AS (
    SELECT max(generation) + 1 AS generation
    FROM projections.checkpoints
    WHERE tenant = $1 AND projection = $2
),
state AS (
    UPDATE projections.states
    SET building_generation = newest.generation, rebuild_cause = $4
    FROM newest
    WHERE tenant = $1 AND projection = $2
    RETURNING building_generation
)
INSERT INTO projections.checkpoints (tenant, projection, generation, version, fence)
SELECT $1, $2, building_generation, $3, $5
FROM state
RETURNING generation;
