-- Says that the records of a stream below a revision have no payload any longer.
--
--   $1 log       bigint
--   $2 stream    bigint
--   $3 revision  bigint
UPDATE events.stream_rules
SET taken_below = $3
WHERE log = $1 AND stream = $2 AND taken_below < $3;
