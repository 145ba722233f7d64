-- Makes a lease free; does nothing when it is lost.
--
--   $1 name   text
--   $2 token  bigint
UPDATE projections.leases
SET holder = ''
WHERE name = $1 AND token = $2
RETURNING token;
