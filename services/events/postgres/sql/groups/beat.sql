-- See the function in 0023_keep_promised_lanes.sql.
--
--   $1 tenant              text
--   $2 name                text
--   $3 consumer            text
--   $4 called              text
--   $5 actor               text
--   $6 lanes               integer[]  that the consumer leads
--   $7 tokens              bigint[]   under which it does
--   $8 consumer_count_max  integer
--   $9 is_up_to_date       boolean    the consumer has seen which lanes it has
SELECT version, lane_count, consumer_rank, consumer_count, kept, created_at, is_freed
FROM events.group_beat($1, $2, $3, $4, $5, $6, $7, $8, $9);
