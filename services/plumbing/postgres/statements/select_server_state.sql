-- How the server is: its version, for example "18.6", whether this session may write now, and
-- whether one that is opened now would be told otherwise.
--
-- A session is told when it begins what `ALTER DATABASE` and `ALTER ROLE` set, and keeps it
-- when that is set otherwise; what the server's own files say it hears at once.
SELECT
    split_part(current_setting('server_version'), ' ', 1) AS version,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    own.source <> 'client'
    AND own.setting::boolean IS DISTINCT FROM CASE
        WHEN newest.setting IS NOT NULL THEN newest.setting::boolean
        WHEN own.source NOT IN ('database', 'user', 'database user') THEN own.setting::boolean
    END AS is_outdated
FROM pg_settings AS own
LEFT JOIN LATERAL (
    SELECT split_part(entry.text, '=', 2) AS setting
    FROM pg_db_role_setting
    CROSS JOIN unnest(setconfig) AS entry (text)
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
      AND split_part(entry.text, '=', 1) = 'default_transaction_read_only'
    ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC
    LIMIT 1
) AS newest ON true
WHERE own.name = 'default_transaction_read_only';
