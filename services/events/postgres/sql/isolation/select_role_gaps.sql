-- What the current role is or may do that girih_events must not, in words.
SELECT problems.problem
FROM pg_roles AS this
CROSS JOIN LATERAL (
    SELECT format('%I %s', this.rolname, traits.trait)
    FROM (VALUES
        ('is a superuser', this.rolsuper),
        ('bypasses row-level security', this.rolbypassrls),
        ('may create roles', this.rolcreaterole),
        ('may create databases', this.rolcreatedb),
        ('may copy the whole server by replication', this.rolreplication),
        ('may log in', this.rolcanlogin),
        ('may create schemas', has_database_privilege(this.oid, current_database(), 'CREATE'))
    ) AS traits (trait, holds)
    WHERE traits.holds
    UNION ALL
    SELECT format('%I is a member of %I', this.rolname, pg_get_userbyid(roleid))
    FROM pg_auth_members
    WHERE member = this.oid
    UNION ALL
    SELECT format('%I owns %s', this.rolname, owned.object)
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
    WHERE owned.owner = this.oid
    UNION ALL
    -- Then whoever tells no tenant would be that one.
    SELECT 'girih.tenant has a value that nobody told'
    WHERE nullif(current_setting('girih.tenant', true), '') IS NOT NULL
) AS problems (problem)
WHERE this.rolname = current_user;
