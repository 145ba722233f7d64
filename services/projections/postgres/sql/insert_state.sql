-- Makes a projection known for a tenant, unless it is.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 version     text
WITH state AS (
    INSERT INTO projections.states (tenant, projection)
    VALUES ($1, $2)
    ON CONFLICT DO NOTHING
    RETURNING active_generation
)
INSERT INTO projections.checkpoints (tenant, projection, generation, version)
SELECT $1, $2, active_generation, $3
FROM state
ON CONFLICT DO NOTHING;
