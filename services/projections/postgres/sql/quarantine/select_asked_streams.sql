-- The streams of a generation of which events are to be applied that were put aside.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 generation  bigint
SELECT DISTINCT stream
FROM projections.quarantine
WHERE tenant = $1 AND projection = $2 AND generation = $3 AND asked = 'replay';
