-- Pauses a projection, or ends its pause.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 is_paused   boolean
UPDATE projections.states
SET is_paused = $3
WHERE tenant = $1 AND projection = $2;
