-- See the function in 0023_keep_promised_lanes.sql.
--
--   $1 tenant    text
--   $2 name      text
--   $3 consumer  text
--   $4 lanes     integer[]
--   $5 tokens    bigint[]
--   $6 goes      boolean    the consumer
SELECT events.group_release($1, $2, $3, $4, $5, $6);
