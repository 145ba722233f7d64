-- See the function in 0013_lead_groups.sql.
--
--   $1 tenant  text
--   $2 name    text
SELECT events.group_delete($1, $2);
