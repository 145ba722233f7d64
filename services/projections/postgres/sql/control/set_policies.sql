-- Sets the policies of a projection.
--
--   $1 tenant           text
--   $2 projection       text
--   $3 poison_policy    text  NULL for the projection's own
--   $4 replaced_policy  text  NULL for the projection's own
UPDATE projections.states
SET poison_policy = $3, replaced_policy = $4
WHERE tenant = $1 AND projection = $2;
