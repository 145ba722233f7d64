-- Policies that are missing, or that are not what they should be, in words.
--
-- One more that permits is enough to defeat the others: a row is seen when any policy permits it.
--
-- A newer girih may have given tables, and roles of its own, policies that this version does not
-- know. They concern it where it works as that role on that table, and nowhere else.
--
--   $1 is_newest  boolean  false when a newer girih has migrated: what it added is its own
WITH named (on_table, policy, definition) AS (
    VALUES
        (
            'logs',
            'logs_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (tenant = NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))'
        ),
        (
            'incarnations',
            'incarnations_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'records',
            'records_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'streams',
            'streams_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'labels',
            'labels_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'unlabelled',
            'unlabelled_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'snapshots',
            'snapshots_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'kept_logs',
            'kept_logs_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (tenant = NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))'
        ),
        ('kept_logs', 'kept_logs_of_keeper', 'PERMISSIVE SELECT {girih_events_keeper} true'),
        (
            'logs',
            'logs_of_keeper',
            'PERMISSIVE SELECT {girih_events_keeper}'
            ' (tenant = NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))'
        ),
        (
            'records',
            'records_of_keeper',
            'PERMISSIVE ALL {girih_events_keeper}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        ('records', 'records_of_compactor', 'PERMISSIVE ALL {girih_events_compactor} true'),
        (
            'stream_rules',
            'stream_rules_of_tenant',
            'PERMISSIVE ALL {girih_events,girih_events_keeper}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'redactions',
            'redactions_of_tenant',
            'PERMISSIVE ALL {girih_events,girih_events_keeper}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'tallies',
            'tallies_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'tallied',
            'tallied_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'restored',
            'restored_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        ('logs', 'logs_of_lister', 'PERMISSIVE SELECT {girih_events_lister} true'),
        ('records', 'records_of_lister', 'PERMISSIVE SELECT {girih_events_lister} true'),
        (
            'groups',
            'groups_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'group_lanes',
            'group_lanes_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'group_cuts',
            'group_cuts_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'group_held',
            'group_held_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        (
            'group_consumers',
            'group_consumers_of_tenant',
            'PERMISSIVE ALL {girih_events}'
            ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
            ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
        ),
        ('logs', 'logs_of_mover', 'PERMISSIVE ALL {girih_events_mover} true'),
        ('schema_revision', 'schema_revision_of_all', 'PERMISSIVE ALL {public} true')
),
-- Those of the mover are the same on all tables: it sees what is in one log, and changes what is in one
-- that is elsewhere.
expected (on_table, policy, definition) AS (
    TABLE named
    UNION ALL
    SELECT on_table, on_table || mover.suffix, mover.definition
    FROM unnest(ARRAY[
        'group_consumers', 'group_cuts', 'group_held', 'group_lanes', 'groups', 'incarnations',
        'kept_logs', 'labels', 'records', 'redactions', 'restored', 'snapshots', 'stream_rules',
        'streams', 'tallied', 'tallies', 'unlabelled'
    ]) AS on_table
    CROSS JOIN (
        VALUES
            (
                '_seen_by_mover',
                'PERMISSIVE SELECT {girih_events_mover}'
                ' (log = ( SELECT logs.log FROM events.logs WHERE (logs.tenant ='
                ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))))'
            ),
            (
                '_of_mover',
                'PERMISSIVE ALL {girih_events_mover}'
                ' (log = ( SELECT logs.log FROM events.logs WHERE ((logs.tenant ='
                ' NULLIF(current_setting(''girih.tenant''::text, true), ''''::text))'
                ' AND (logs.moved_to IS NOT NULL))))'
            )
    ) AS mover (suffix, definition)
),
actual (on_table, policy, roles, definition) AS (
    SELECT
        tablename,
        policyname,
        roles,
        regexp_replace(concat_ws(' ', permissive, cmd, roles, qual, with_check), '\s+', ' ', 'g')
    FROM pg_policies
    WHERE schemaname = 'events'
),
worked_on (on_table, role) AS (
    SELECT on_table, role
    FROM expected
    JOIN actual USING (on_table, policy)
    CROSS JOIN LATERAL unnest(roles) AS role
    UNION
    SELECT on_table, 'public' FROM expected
)
SELECT format('the policy %I on events.%I is missing or another one', policy, on_table) AS problem
FROM (
    TABLE expected
    EXCEPT
    SELECT on_table, policy, definition FROM actual
) AS missing
UNION ALL
SELECT format('the policy %I on events.%I does not belong there', policy, on_table)
FROM actual
WHERE (on_table, policy) NOT IN (SELECT expected.on_table, expected.policy FROM expected)
  AND (
      $1
      OR EXISTS (
          SELECT
          FROM worked_on
          WHERE worked_on.on_table = actual.on_table AND worked_on.role = ANY (actual.roles)
      )
  );
