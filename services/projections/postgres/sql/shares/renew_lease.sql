-- Makes a lease last longer; no row when it is lost or has run out.
--
--   $1 name     text
--   $2 token    bigint
--   $3 seconds  double precision
UPDATE projections.leases
SET expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE name = $1 AND token = $2 AND holder <> '' AND expires_at > clock_timestamp()
RETURNING token;
