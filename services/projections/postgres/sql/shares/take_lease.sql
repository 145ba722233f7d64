-- Takes a lease that is free or has run out; no row while somebody holds it.
--
--   $1 name     text
--   $2 holder   text
--   $3 seconds  double precision
INSERT INTO projections.leases (name, holder, token, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
WHERE leases.holder IN ('', excluded.holder) OR leases.expires_at <= clock_timestamp()
RETURNING token;
