-- See the function in 0013_lead_groups.sql, which says what each is.
--
--   $1  tenant           text
--   $2  name             text
--   $3  lanes            integer[]
--   $4  tokens           bigint[]
--   $5  checkpoints      bigint[]
--   $6  incarnations     text[]
--   $7  acked_lanes      integer[]
--   $8  acked_positions  bigint[]
--   $9  held_lanes       integer[]
--   $10 held_positions   bigint[]
--   $11 held_keys        text[]
--   $12 held_hashes      bigint[]
--   $13 held_states      text[]
--   $14 held_attempts    integer[]
--   $15 held_delays_s    double precision[]
--   $16 held_reasons     text[]
--   $17 freed_lanes      integer[]
--   $18 freed_positions  bigint[]
SELECT events.group_settle(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
);
