-- See the function in 0023_keep_longer_leases.sql.
--
--   $1 tenant     text
--   $2 name       text
--   $3 consumer   text
--   $4 version    bigint   of the settings that the consumer knows
--   $5 count_max  integer
--   $6 least_s    double precision
SELECT lane, token, checkpoint, acked, incarnation
FROM events.group_claim($1, $2, $3, $4, $5, $6)
ORDER BY lane;
