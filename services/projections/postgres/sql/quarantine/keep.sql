-- An event could not be applied this time either: it stays, and those of its stream with it.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
--   $4 stream      text
--   $5 position    bigint
--   $6 problem     text
UPDATE projections.quarantine
SET asked = NULL,
    problem = CASE WHEN position = $5 THEN $6 ELSE problem END,
    is_held_back = is_held_back AND position <> $5,
    attempt_count = attempt_count + CASE WHEN position = $5 THEN 1 ELSE 0 END
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND stream = $4;
