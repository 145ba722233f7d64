-- A process wants no share any more.
--
--   $1 holder  text
DELETE FROM projections.members
WHERE holder = $1;
