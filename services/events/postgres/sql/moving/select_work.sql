-- The logs that are to be moved from here, and those of which there is a copy here. They stand in an
-- index of their own, which is empty most of the time.
--
--   $1 count_max  bigint
SELECT tenant, moved_to, moving_to, move, is_awaited,
    coalesce(moved_at < now() - interval '30 s', true) AS is_old
FROM events.logs
WHERE moving_to IS NOT NULL OR holds_copy
ORDER BY log
LIMIT $1;
