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
--   $10 expected_version   bigint   0 for whatever there is
--   $11 cut_count_max      integer
SELECT outcome, version
FROM events.group_update($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);
