-- Keeps a lease until the transaction ends; no row when it is lost or has run out.
--
--   $1 name   text
--   $2 token  bigint
SELECT token
FROM leases
WHERE name = $1 AND token = $2 AND holder <> '' AND expires_at > clock_timestamp()
FOR NO KEY UPDATE;
