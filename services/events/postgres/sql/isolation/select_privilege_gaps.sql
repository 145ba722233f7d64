-- What girih_events, or everybody, may do in the schema and should not, and the reverse, in
-- words. Nothing is inherited: that the role is a member of no other is asked elsewhere.
--
--   $1 is_newest  boolean  false when a newer girih has migrated: what it added is its own
WITH expected (object, privilege) AS (
    VALUES
        ('schema events', 'USAGE'),
        ('events.logs', 'SELECT'),
        ('events.logs (tenant)', 'INSERT'),
        ('events.streams', 'SELECT'),
        ('events.streams', 'INSERT'),
        ('events.records', 'SELECT'),
        ('events.records', 'INSERT'),
        ('events.kept_logs', 'SELECT'),
        ('events.kept_logs', 'INSERT'),
        ('events.redactions', 'SELECT'),
        ('events.redactions', 'INSERT'),
        ('events.stream_rules', 'SELECT'),
        ('events.stream_rules', 'INSERT'),
        ('events.stream_rules', 'UPDATE'),
        ('events.change_stream', 'EXECUTE'),
        ('events.retained_from', 'EXECUTE'),
        ('events.put_lapse', 'EXECUTE'),
        ('events.with_lapse', 'EXECUTE'),
        ('events.tallies', 'SELECT'),
        ('events.tallies', 'INSERT'),
        ('events.tallies', 'UPDATE'),
        ('events.tallied', 'SELECT'),
        ('events.tallied', 'INSERT'),
        ('events.tallied', 'UPDATE'),
        ('events.tally', 'EXECUTE'),
        ('events.restored', 'SELECT'),
        ('events.restored', 'INSERT'),
        ('events.restored', 'UPDATE'),
        ('events.restore', 'EXECUTE'),
        ('events.schema_revision', 'SELECT'),
        ('events.snapshots', 'SELECT'),
        ('events.snapshots', 'INSERT'),
        ('events.snapshots', 'DELETE'),
        ('events.save_snapshot', 'EXECUTE'),
        ('events.groups', 'SELECT'),
        ('events.groups', 'INSERT'),
        ('events.groups', 'UPDATE'),
        ('events.groups', 'DELETE'),
        ('events.group_lanes', 'SELECT'),
        ('events.group_lanes', 'INSERT'),
        ('events.group_lanes', 'UPDATE'),
        ('events.group_lanes', 'DELETE'),
        ('events.group_cuts', 'SELECT'),
        ('events.group_cuts', 'INSERT'),
        ('events.group_cuts', 'UPDATE'),
        ('events.group_cuts', 'DELETE'),
        ('events.group_held', 'SELECT'),
        ('events.group_held', 'INSERT'),
        ('events.group_held', 'UPDATE'),
        ('events.group_held', 'DELETE'),
        ('events.group_consumers', 'SELECT'),
        ('events.group_consumers', 'INSERT'),
        ('events.group_consumers', 'UPDATE'),
        ('events.group_consumers', 'DELETE'),
        ('events.group_log', 'EXECUTE'),
        ('events.group_create', 'EXECUTE'),
        ('events.group_cut', 'EXECUTE'),
        ('events.group_update', 'EXECUTE'),
        ('events.group_delete', 'EXECUTE'),
        ('events.group_forget_cuts', 'EXECUTE'),
        ('events.group_reset', 'EXECUTE'),
        ('events.group_beat', 'EXECUTE'),
        ('events.group_claim', 'EXECUTE'),
        ('events.group_settle', 'EXECUTE'),
        ('events.group_release', 'EXECUTE'),
        ('events.group_unpark', 'EXECUTE'),
        ('events.group_void', 'EXECUTE'),
        ('events.append', 'EXECUTE'),
        ('events.logs_here', 'SELECT'),
        ('events.refuse_elsewhere', 'EXECUTE'),
        ('events.stay', 'EXECUTE'),
        ('events.take_turn', 'EXECUTE'),
        ('events.incarnations', 'SELECT'),
        ('events.incarnations', 'INSERT'),
        ('events.confirm', 'EXECUTE'),
        ('events.head_of', 'EXECUTE'),
        ('events.length_prefix', 'EXECUTE'),
        ('events.moved', 'EXECUTE'),
        ('events.place', 'EXECUTE'),
        ('events.labels', 'SELECT'),
        ('events.labels', 'INSERT'),
        ('events.unlabelled', 'SELECT'),
        ('events.unlabelled', 'INSERT'),
        ('events.label_records', 'EXECUTE'),
        ('events.label_new_records', 'EXECUTE'),
        ('events.fill_labels', 'EXECUTE'),
        ('events.labelled_block', 'EXECUTE'),
        ('events.block_of_one', 'EXECUTE'),
        ('events.categories', 'EXECUTE'),
        ('events.revision_at', 'EXECUTE'),
        ('events.blocks_of_streams', 'EXECUTE'),
        ('events.find_of_query', 'EXECUTE'),
        ('events.find', 'EXECUTE')
),
lists (object, list) AS (
    SELECT 'schema events', coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace
    WHERE nspname = 'events'
    UNION ALL
    SELECT
        format('events.%I', relname),
        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class
    WHERE relnamespace = 'events'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT format('events.%I (%I)', relname, attname), attacl
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'events'::regnamespace AND attacl IS NOT NULL AND NOT attisdropped
    UNION ALL
    SELECT format('events.%I', proname), coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc
    WHERE pronamespace = 'events'::regnamespace
),
actual (object, privilege) AS (
    SELECT
        lists.object,
        granted.privilege_type || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM lists
    CROSS JOIN LATERAL aclexplode(lists.list) AS granted
    WHERE granted.grantee IN (0, 'girih_events'::regrole)
)
SELECT format('girih_events lacks %s on %s', privilege, object) AS problem
FROM (TABLE expected EXCEPT TABLE actual) AS missing
UNION ALL
SELECT format('girih_events has %s on %s', privilege, object)
FROM (TABLE actual EXCEPT TABLE expected) AS surplus
WHERE $1 OR object IN (SELECT expected.object FROM expected);
