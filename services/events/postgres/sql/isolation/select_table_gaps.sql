-- Tables of the schema without row-level security, and ways around it, in words.
SELECT format('row-level security is not %s on %s', missing.what, oid::regclass) AS problem
FROM pg_class
CROSS JOIN LATERAL (
    SELECT 'enabled' WHERE NOT relrowsecurity
    UNION ALL
    SELECT 'forced' WHERE NOT relforcerowsecurity
) AS missing (what)
WHERE relnamespace = 'events'::regnamespace AND relkind IN ('r', 'p')

UNION ALL
-- Nothing can restrict what these give.
SELECT format('%s is a table that row-level security cannot guard', oid::regclass)
FROM pg_class
WHERE relnamespace = 'events'::regnamespace AND relkind IN ('f', 'm')

UNION ALL
-- Read with the rights of their owner.
SELECT format('the view %s is not a security_invoker', view.oid::regclass)
FROM pg_class AS view
WHERE view.relkind = 'v'
  AND NOT EXISTS (
      SELECT
      FROM pg_options_to_table(view.reloptions)
      WHERE option_name = 'security_invoker' AND option_value::boolean
  )
  AND (
      view.relnamespace = 'events'::regnamespace
      OR (
          has_any_column_privilege(view.oid, 'SELECT, INSERT, UPDATE')
          AND EXISTS (
              SELECT
              FROM pg_rewrite
              JOIN pg_depend
                  ON pg_depend.classid = 'pg_rewrite'::regclass
                  AND pg_depend.objid = pg_rewrite.oid
                  AND pg_depend.refclassid = 'pg_class'::regclass
              JOIN pg_class AS used ON used.oid = pg_depend.refobjid
              WHERE pg_rewrite.ev_class = view.oid
                AND used.relnamespace = 'events'::regnamespace
          )
      )
  )

UNION ALL
-- Runs with the rights of its owner.
SELECT format('the function %s is SECURITY DEFINER', oid::regprocedure)
FROM pg_proc
WHERE pronamespace = 'events'::regnamespace AND prosecdef;
