-- Puts events aside.
--
--   $1 tenant         text
--   $2 projection     text
--   $3 generation     bigint
--   $4 position       bigint
--   $5 stream         text
--   $6 type           text
--   $7 event_id       text
--   $8 problem        text
--   $9 is_held_back   boolean
--   $10 attempt_count bigint
INSERT INTO projections.quarantine (
    tenant, projection, generation, position, stream, type, event_id, problem, is_held_back, attempt_count
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);
