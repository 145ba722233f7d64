-- What the current role owns, or may reach of the log, which girih_projections must not, in words.
SELECT problems.problem
FROM pg_roles AS own
CROSS JOIN LATERAL (
    SELECT format('%I owns %s', own.rolname, pg_class.oid::regclass)
    FROM pg_class
    WHERE relowner = own.oid
    UNION ALL
    -- It reads the log as users do, and writes none of it.
    SELECT format('%I may reach %s', own.rolname, pg_class.oid::regclass)
    FROM pg_class
    WHERE relnamespace = to_regnamespace('events')
      AND relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_any_column_privilege(own.oid, pg_class.oid, 'SELECT, INSERT, UPDATE')
) AS problems (problem)
WHERE own.rolname = current_user;
