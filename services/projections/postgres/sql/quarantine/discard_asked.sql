-- Gives up the events that somebody asked for.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
DELETE FROM projections.quarantine
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND asked = 'discard';
