-- What the current role is or may do that no role of a service must, in words.
SELECT problems.problem
FROM pg_roles AS own
CROSS JOIN LATERAL (
    SELECT format('%I %s', own.rolname, traits.trait)
    FROM (VALUES
        ('is a superuser', own.rolsuper),
        ('bypasses row-level security', own.rolbypassrls),
        ('may create roles', own.rolcreaterole),
        ('may create databases', own.rolcreatedb),
        ('may copy the whole server by replication', own.rolreplication),
        ('may log in', own.rolcanlogin),
        ('may create schemas', has_database_privilege(own.oid, current_database(), 'CREATE'))
    ) AS traits (trait, holds)
    WHERE traits.holds
    UNION ALL
    SELECT format('%I is a member of %I', own.rolname, pg_get_userbyid(roleid))
    FROM pg_auth_members
    WHERE member = own.oid
    UNION ALL
    -- Then whoever tells no tenant would be that one.
    SELECT 'girih.tenant has a value that nobody told'
    WHERE nullif(current_setting('girih.tenant', true), '') IS NOT NULL
) AS problems (problem)
WHERE own.rolname = current_user;
