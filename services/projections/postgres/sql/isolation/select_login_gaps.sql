-- What the login of this session could do besides what girih_projections can, in words.
--
-- One row per role that it is or may become. What a superuser may become is not listed: it is
-- everything.
SELECT format(
    'the login %I %s%s',
    session_user,
    CASE WHEN may_be.rolname <> session_user THEN format('may become %I, which ', may_be.rolname) END,
    worst.trait
) AS problem
FROM pg_roles AS login
JOIN pg_roles AS may_be
    ON may_be.oid = login.oid
    OR (NOT login.rolsuper AND pg_has_role(login.oid, may_be.oid, 'MEMBER'))
CROSS JOIN LATERAL (
    SELECT traits.trait
    FROM (VALUES
        (1, 'is a superuser', may_be.rolsuper),
        (2, 'bypasses row-level security', may_be.rolbypassrls),
        (3, 'owns what projections are kept in', may_be.oid IN (
            SELECT relowner
            FROM pg_class
            JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = 'projections' OR starts_with(nspname, 'projection_')
        )),
        (4, 'may make itself a member of other roles', may_be.rolcreaterole),
        (5, 'may copy the whole server by replication', may_be.rolreplication),
        (6, 'appends to the log', may_be.rolname = 'girih_events'),
        (7, 'may write to every table', may_be.rolname = 'pg_write_all_data')
    ) AS traits (rank, trait, holds)
    WHERE traits.holds
    ORDER BY traits.rank
    LIMIT 1
) AS worst
WHERE login.rolname = session_user
ORDER BY may_be.rolname <> session_user, may_be.rolname;
