-- Takes over the generations of a projection: nothing is written from now on under a lease before.
--
--   $1 tenant      text
--   $2 projection  text
--   $3 fence       bigint
UPDATE projections.checkpoints
SET fence = $3
WHERE tenant = $1 AND projection = $2 AND fence < $3;
