-- What the current role is or may do that girih_events must not, in words.
SELECT problems.problem
FROM pg_roles AS own_log
CROSS JOIN LATERAL (
    SELECT format('%I %s', own_log.rolname, traits.trait)
    FROM (VALUES
        ('is a superuser', own_log.rolsuper),
        ('bypasses row-level security', own_log.rolbypassrls),
        ('may create roles', own_log.rolcreaterole),
        ('may create databases', own_log.rolcreatedb),
        ('may copy the whole server by replication', own_log.rolreplication),
        ('may log in', own_log.rolcanlogin),
        ('may create schemas', has_database_privilege(own_log.oid, current_database(), 'CREATE'))
    ) AS traits (trait, holds)
    WHERE traits.holds
    UNION ALL
    SELECT format('%I is a member of %I', own_log.rolname, pg_get_userbyid(roleid))
    FROM pg_auth_members
    WHERE member = own_log.oid
    UNION ALL
    SELECT format('%I owns %s', own_log.rolname, owned.object)
    FROM (
        SELECT 'the schema events', nspowner FROM pg_namespace WHERE nspname = 'events'
        UNION ALL
        SELECT oid::regclass::text, relowner
        FROM pg_class
        WHERE relnamespace = 'events'::regnamespace
        UNION ALL
        SELECT oid::regprocedure::text, proowner
        FROM pg_proc
        WHERE pronamespace = 'events'::regnamespace
    ) AS owned (object, owner)
    WHERE owned.owner = own_log.oid
    UNION ALL
    -- Then whoever tells no tenant would be that one.
    SELECT 'girih.tenant has a value that nobody told'
    WHERE nullif(current_setting('girih.tenant', true), '') IS NOT NULL
) AS problems (problem)
WHERE own_log.rolname = current_user;
