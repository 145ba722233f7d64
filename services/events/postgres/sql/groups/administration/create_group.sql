-- See the function in 0013_lead_groups.sql.
--
--   $1  tenant             text
--   $2  name               text
--   $3  lane_count         integer
--   $4  key_tag_prefix     text
--   $5  filter             bytea
--   $6  attempt_count_max  integer
--   $7  passes_parked      boolean
--   $8  held_count_max     integer
--   $9  lease_s            double precision
--   $10 behind             bigint   position behind which its events are
--   $11 incarnation        text     of the log that the position is in
--   $12 count_max          integer  groups of a tenant
SELECT version, is_new
FROM events.group_create($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);
