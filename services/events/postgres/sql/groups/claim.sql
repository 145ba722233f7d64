-- See the function in 0023_keep_promised_lanes.sql.
--
--   $1 tenant     text
--   $2 name       text
--   $3 consumer   text
--   $4 version    bigint   of the settings that the consumer knows
--   $5 count_max  integer
--   $6 least_s    double precision
--   $7 created    timestamptz
SELECT lane, token, checkpoint, acked, incarnation
FROM events.group_claim($1, $2, $3, $4, $5, $6, $7)
ORDER BY lane;
