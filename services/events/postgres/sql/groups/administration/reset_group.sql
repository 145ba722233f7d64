-- See the function in 0013_lead_groups.sql.
--
--   $1 tenant       text
--   $2 name         text
--   $3 behind       bigint
--   $4 incarnation  text
SELECT events.group_reset($1, $2, $3, $4);
