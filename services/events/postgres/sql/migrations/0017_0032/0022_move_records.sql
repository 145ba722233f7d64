-- Lets the file of records get shorter once payloads have gone, while everything else goes on.
--
-- VACUUM gives pages back where they are the last of the file and empty. So records at its end are moved to
-- free room before it, by updates that change nothing. A role of its own does that: it sees which log a
-- record is of, of all tenants, and nothing else, and whatever it updates stays as it was.
DO $$
BEGIN
    IF to_regrole('girih_events_compactor') IS NULL THEN
        CREATE ROLE girih_events_compactor NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- As with the keeper, in 0008_keep_streams.sql: where the role is another's to grant, files keep their length.
DO $$
BEGIN
    SET LOCAL ROLE girih_events_compactor;
    RESET ROLE;
EXCEPTION
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        BEGIN
            GRANT girih_events_compactor TO CURRENT_USER;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;
        END;
END;
$$;

CREATE POLICY records_of_compactor ON events.records TO girih_events_compactor
USING (true);

GRANT USAGE ON SCHEMA events TO girih_events_compactor;
GRANT SELECT (ctid, log), UPDATE (log) ON events.records TO girih_events_compactor;

-- As in 0018_place_logs.sql, and the compactor may update records.
CREATE OR REPLACE FUNCTION events.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'records'
        AND current_user IN ('girih_events_keeper', 'girih_events_compactor')
    THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' AND current_user = 'girih_events_mover' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'events.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

CREATE OR REPLACE FUNCTION events.refuse_all_but_taking() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = 'girih_events_compactor' THEN
        RETURN OLD;
    END IF;
    IF OLD.payload IS NULL OR NEW.payload IS NOT NULL THEN
        RAISE EXCEPTION 'a record may lose its payload once, and nothing else'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
$$;

-- Moves the records in the pages from `first` to before `behind` to free room before them. How many
-- there were; NULL, and nothing was done, where there is not room enough, and while another process does it.
--
-- An update puts a record back into its own page where that has room. What was moved within this
-- transaction still takes its old room, so that page is full sooner or later, and the next update goes elsewhere.
CREATE FUNCTION events.move_records(first bigint, behind bigint) RETURNS bigint
LANGUAGE plpgsql
SET lock_timeout = '200ms'
AS $$
DECLARE
    from_tid tid := format('(%s,0)', first)::tid;
    to_tid tid := format('(%s,0)', behind)::tid;
    seen bigint;
    moved bigint := 0;
    forward bigint;
    backward bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock('events.records'::regclass::oid::integer, 0) THEN
        RETURN NULL;
    END IF;
    FOR attempt IN 1..400 LOOP
        WITH changed AS (
            UPDATE events.records SET log = log
            WHERE ctid >= from_tid AND ctid < to_tid
            RETURNING ctid
        )
        SELECT
            count(*),
            count(*) FILTER (WHERE ctid < from_tid),
            count(*) FILTER (WHERE ctid >= to_tid)
        INTO seen, forward, backward
        FROM changed;
        IF backward > 0 THEN
            RAISE EXCEPTION 'no room' USING ERRCODE = 'GR001';
        END IF;
        moved := moved + forward;
        IF seen = forward THEN
            RETURN moved;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'no room' USING ERRCODE = 'GR001';
EXCEPTION
    -- Whoever has a record is taking its payload.
    WHEN SQLSTATE 'GR001' OR lock_not_available OR deadlock_detected THEN
        RETURN NULL;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.move_records FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.move_records TO girih_events_compactor;

-- Before PostgreSQL 17 the owner alone may vacuum; autovacuum does it then, in its own time.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON events.records TO girih_events_compactor';
    END IF;
END;
$$;
