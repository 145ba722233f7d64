-- How many pages the file of records has, and whether enough of what is in it is of no use for it to be vacuumed.
SELECT
    pg_relation_size('events.records') / current_setting('block_size')::bigint AS page_count,
    coalesce(n_dead_tup > 1000 AND n_dead_tup > n_live_tup / 20, false) AS is_vacuum_due
FROM pg_class
LEFT JOIN pg_stat_user_tables ON relid = pg_class.oid
WHERE pg_class.oid = 'events.records'::regclass;
