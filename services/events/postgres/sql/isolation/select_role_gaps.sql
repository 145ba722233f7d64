-- What the current role owns of the schema, which girih_events must not, in words.
SELECT format('%I owns %s', own.rolname, owned.object) AS problem
FROM pg_roles AS own
JOIN (
    SELECT 'the schema events', nspowner FROM pg_namespace WHERE nspname = 'events'
    UNION ALL
    SELECT oid::regclass::text, relowner
    FROM pg_class
    WHERE relnamespace = 'events'::regnamespace
    UNION ALL
    SELECT oid::regprocedure::text, proowner
    FROM pg_proc
    WHERE pronamespace = 'events'::regnamespace
) AS owned (object, owner) ON owned.owner = own.oid
WHERE own.rolname = current_user;
