-- One page of a log, oldest first. A record of more than $4 bytes comes as NULL: so no
-- page holds more than $3 times $4 bytes, whatever the log holds.
--
--   $1 tenant            text
--   $2 position          bigint  of the first record that may be returned
--   $3 row_count_max     bigint
--   $4 record_bytes_max  integer
SELECT position, CASE WHEN octet_length(record) <= $4 THEN record END
FROM events.records
WHERE log = (SELECT log FROM events.logs WHERE tenant = $1)
  AND position >= $2
ORDER BY position
LIMIT $3;
