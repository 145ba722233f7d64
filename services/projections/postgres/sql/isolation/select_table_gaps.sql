-- What does not keep tenants apart in the schemas of projections, in words, with the schema it is in.
--
-- Tables that the role cannot reach, such as those of revisions, need no policy.
--
--   $1 schemas  text[]  `projections`, and that of each projection
WITH relations AS (
    SELECT pg_class.*, nspname
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = ANY ($1::text[])
      AND relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (
          has_any_column_privilege('girih_projections', pg_class.oid, 'SELECT, INSERT, UPDATE')
          OR has_table_privilege('girih_projections', pg_class.oid, 'DELETE, TRUNCATE')
      )
),
policies AS (
    SELECT
        schemaname,
        tablename,
        regexp_replace(concat_ws(' ', permissive, cmd, roles, qual, with_check), '\s+', ' ', 'g') AS definition
    FROM pg_policies
    WHERE schemaname = ANY ($1::text[])
),
-- Of no tenant, and of girih's own.
open_tables (nspname, relname) AS (
    VALUES ('projections', 'leases'), ('projections', 'members'), ('projections', 'schema_revision')
)
SELECT relations.nspname AS schema, format('row-level security is not %s on %s', missing.what, oid::regclass) AS problem
FROM relations
CROSS JOIN LATERAL (
    SELECT 'enabled' WHERE NOT relrowsecurity
    UNION ALL
    SELECT 'forced' WHERE NOT relforcerowsecurity
) AS missing (what)
WHERE relkind IN ('r', 'p')

UNION ALL
SELECT relations.nspname, format('%s has no policy for its tenant, or another beside it', oid::regclass)
FROM relations
WHERE relkind IN ('r', 'p')
  AND (nspname, relname) NOT IN (TABLE open_tables)
  AND (
      SELECT array_agg(policies.definition)
      FROM policies
      WHERE policies.schemaname = relations.nspname AND policies.tablename = relations.relname
  ) IS DISTINCT FROM ARRAY[
      'PERMISSIVE ALL {girih_projections}'
      ' (tenant = NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))'
  ]

UNION ALL
-- Nothing can restrict what these give.
SELECT relations.nspname, format('%s is a table that row-level security cannot guard', oid::regclass)
FROM relations
WHERE relkind IN ('f', 'm')

UNION ALL
-- Read with the rights of their owner.
SELECT relations.nspname, format('the view %s is not a security_invoker', oid::regclass)
FROM relations
WHERE relkind = 'v'
  AND NOT EXISTS (
      SELECT
      FROM pg_options_to_table(relations.reloptions)
      WHERE option_name = 'security_invoker' AND option_value::boolean
  )

UNION ALL
-- Runs with the rights of its owner.
SELECT nspname, format('the function %s is SECURITY DEFINER', pg_proc.oid::regprocedure)
FROM pg_proc
JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE nspname = ANY ($1::text[]) AND prosecdef;
