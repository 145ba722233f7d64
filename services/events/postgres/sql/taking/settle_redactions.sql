-- Says that redacted records have no payload any longer.
--
--   $1 log        bigint
--   $2 positions  bigint[]
UPDATE events.redactions
SET is_taken = true
WHERE log = $1 AND position = ANY ($2::bigint[]);
