-- Says that a process wants a share for a while, and answers how many do.
--
--   $1 holder   text
--   $2 seconds  double precision
WITH own AS (
    INSERT INTO projections.members (holder, expires_at)
    VALUES ($1, clock_timestamp() + make_interval(secs => $2))
    ON CONFLICT (holder) DO UPDATE SET expires_at = excluded.expires_at
),
gone AS (
    DELETE FROM projections.members
    WHERE expires_at < clock_timestamp() - interval '1 hour' AND holder <> $1
)
SELECT 1 + count(*) AS member_count
FROM projections.members
WHERE expires_at > clock_timestamp() AND holder <> $1;
