-- The position up to which readers see the log at least; no row before the projection has begun.
--
--   $1 tenant  text
SELECT position
FROM projections.checkpoints
WHERE tenant = $1 AND projection = 'documents' AND generation = projections.active_generation('documents');
