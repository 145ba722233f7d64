-- What this place knows of a log; no row when it knows nothing.
--
--   $1 tenant  text
SELECT tenant, moved_to, moving_to, move, is_awaited,
    coalesce(moved_at < now() - interval '30 s', true) AS is_old
FROM events.logs
WHERE tenant = $1;
