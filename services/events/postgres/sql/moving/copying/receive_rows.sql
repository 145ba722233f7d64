-- Has a copy lose some rows of a table and gain others: see the function in 0018_place_logs.sql.
--
--   $1 tenant  text
--   $2 move    bigint
--   $3 table   text
--   $4 lost    text[]  their hashes
--   $5 gained  text[]  as text
SELECT events.receive_rows($1, $2, $3, $4, $5);
