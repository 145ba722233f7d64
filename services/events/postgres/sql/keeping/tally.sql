-- Counts some more records of a log by type and category, and answers up to where it is counted
-- and where it ends: see the function in 0011_tally_events.sql.
--
--   $1 tenant            text
--   $2 record_count_max  bigint
SELECT counted, head
FROM events.tally($1, $2);
