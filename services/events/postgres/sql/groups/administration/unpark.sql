-- See the function in 0013_lead_groups.sql.
--
--   $1 tenant       text
--   $2 name         text
--   $3 positions    bigint[]  NULL means all that are parked
--   $4 is_replayed  boolean   else they are discarded
SELECT events.group_unpark($1, $2, $3, $4);
