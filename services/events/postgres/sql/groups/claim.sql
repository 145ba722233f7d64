-- See the function in 0013_lead_groups.sql.
--
--   $1 tenant     text
--   $2 name       text
--   $3 consumer   text
--   $4 version    bigint   of the settings that the consumer knows
--   $5 count_max  integer
SELECT lane, token, checkpoint, acked, incarnation
FROM events.group_claim($1, $2, $3, $4, $5)
ORDER BY lane;
