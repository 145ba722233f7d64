-- Whoever works for all tenants, such as projections, has to know which there are.
--
-- In a role of its own, which sees the names of tenants and where their logs end, and no column of
-- what is in them: whoever reads a log does that in the name of its tenant, as before.
DO $$
BEGIN
    IF to_regrole('girih_events_lister') IS NULL THEN
        CREATE ROLE girih_events_lister NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- Whoever migrates may also serve, as in development. Where the role is another's to grant, the
-- process works all the same, and only lists no logs.
DO $$
BEGIN
    SET LOCAL ROLE girih_events_lister;
    RESET ROLE;
EXCEPTION
    -- The other value is a role that another database of the server has made just now.
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        BEGIN
            GRANT girih_events_lister TO CURRENT_USER;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;
        END;
END;
$$;

CREATE POLICY logs_of_lister ON events.logs FOR SELECT TO girih_events_lister
USING (true);
CREATE POLICY records_of_lister ON events.records FOR SELECT TO girih_events_lister
USING (true);

GRANT USAGE ON SCHEMA events TO girih_events_lister;
GRANT SELECT (log, tenant) ON events.logs TO girih_events_lister;
GRANT SELECT (log, position) ON events.records TO girih_events_lister;
