-- What is kept of streams: their rules, which events are gone, and who may take payloads away.
--
-- A rule is an event in the stream `$streams` of its log; what stands here is its outcome, written
-- in the same transaction, so that every statement that reads events sees with them the rules
-- that hold. A log without any rule has no row in `kept_logs`, and its reads look no further.

-- Takes payloads away and cannot append: so nothing that appends can take away, and nothing that
-- takes away can put in.
DO $$
BEGIN
    IF to_regrole('girih_events_keeper') IS NULL THEN
        CREATE ROLE girih_events_keeper NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- Whoever migrates may also serve, as in development. Where the role is another's to grant, the
-- process works all the same, and only payloads stay where they are.
DO $$
BEGIN
    SET LOCAL ROLE girih_events_keeper;
    RESET ROLE;
EXCEPTION
    -- The other value is a role that another database of the server has made just now.
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        BEGIN
            GRANT girih_events_keeper TO CURRENT_USER;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;
        END;
END;
$$;

-- The logs that have a rule. Told apart by the tenant's name, which whoever looks for work needs.
CREATE TABLE events.kept_logs (
    log    bigint NOT NULL,
    tenant text   COLLATE "C" NOT NULL,

    CONSTRAINT kept_logs_log PRIMARY KEY (log)
);

-- What holds for a stream now. Revisions below `deleted_below` are deleted, those below
-- `taken_below` have lost their payloads already.
CREATE TABLE events.stream_rules (
    log                bigint      NOT NULL,
    stream             bigint      NOT NULL,
    deleted_below      bigint      NOT NULL DEFAULT 0 CHECK (deleted_below >= 0),
    deleted_position   bigint,
    deleted_at         timestamptz,
    deleted_by         text        COLLATE "C",
    is_tombstoned      boolean     NOT NULL DEFAULT false,
    max_age_s          bigint      CHECK (max_age_s >= 1),
    max_count          bigint      CHECK (max_count >= 1),
    truncate_before    bigint      CHECK (truncate_before >= 0),
    retention_position bigint,
    retention_at       timestamptz,
    retention_by       text        COLLATE "C",
    metadata           text        COLLATE "C",
    metadata_version   bigint      NOT NULL DEFAULT 0,
    taken_below        bigint      NOT NULL DEFAULT 0 CHECK (taken_below >= 0),

    CONSTRAINT stream_rules_stream PRIMARY KEY (log, stream)
);

-- Events that were redacted, each by the event at `by_position`.
CREATE TABLE events.redactions (
    log         bigint      NOT NULL,
    position    bigint      NOT NULL,
    by_position bigint      NOT NULL,
    redacted_at timestamptz NOT NULL,
    redacted_by text        COLLATE "C" NOT NULL,
    is_taken    boolean     NOT NULL DEFAULT false,

    CONSTRAINT redactions_position PRIMARY KEY (log, position)
);

-- The payloads that are still to be taken; empty most of the time.
CREATE INDEX redactions_to_take ON events.redactions (log, position) WHERE NOT is_taken;

ALTER TABLE events.kept_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.stream_rules ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.redactions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY kept_logs_of_tenant ON events.kept_logs TO girih_events
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY stream_rules_of_tenant ON events.stream_rules TO girih_events, girih_events_keeper
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY redactions_of_tenant ON events.redactions TO girih_events, girih_events_keeper
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

-- Which logs have work for it is the one thing that it sees of all tenants.
CREATE POLICY kept_logs_of_keeper ON events.kept_logs FOR SELECT TO girih_events_keeper
USING (true);
CREATE POLICY logs_of_keeper ON events.logs FOR SELECT TO girih_events_keeper
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY records_of_keeper ON events.records TO girih_events_keeper
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

GRANT SELECT, INSERT ON events.kept_logs, events.redactions TO girih_events;
GRANT SELECT, INSERT, UPDATE ON events.stream_rules TO girih_events;

GRANT USAGE ON SCHEMA events TO girih_events_keeper;
GRANT SELECT ON events.logs, events.records, events.kept_logs, events.stream_rules, events.redactions
TO girih_events_keeper;
GRANT UPDATE (header, payload, payload_digest) ON events.records TO girih_events_keeper;
GRANT UPDATE (taken_below) ON events.stream_rules TO girih_events_keeper;
GRANT UPDATE (is_taken) ON events.redactions TO girih_events_keeper;

-- Nobody rewrites history by mistake, the owner of the tables included. The keeper may update
-- records, of which the next function lets one kind pass.
CREATE OR REPLACE FUNCTION events.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'records' AND current_user = 'girih_events_keeper' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'events.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

CREATE FUNCTION events.refuse_all_but_taking() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.payload IS NULL OR NEW.payload IS NOT NULL THEN
        RAISE EXCEPTION 'a record may lose its payload once, and nothing else'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER records_only_lose_payloads
BEFORE UPDATE ON events.records
FOR EACH ROW EXECUTE FUNCTION events.refuse_all_but_taking();

REVOKE EXECUTE ON FUNCTION events.refuse_all_but_taking FROM PUBLIC;

-- Puts down what an event of `$streams` changed, in the transaction that appended it: what holds
-- and the event that says so are there together or not at all. `below` is the revision behind the
-- stream's last event at that place of the log.
CREATE FUNCTION events.change_stream(
    of_tenant      text,
    of_stream      text,
    at_position    bigint,
    at_time        timestamptz,
    by_actor       text,
    below          bigint,
    new_metadata   text,    -- NULL leaves what is there, as in all that follow
    sets_retention boolean,
    age_s          bigint,
    count_max      bigint,
    before         bigint,
    deletes        boolean,
    tombstones     boolean,
    redacted       bigint   -- the position of an event
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    number bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    SELECT stream INTO STRICT number FROM events.streams WHERE log = this AND name = of_stream;

    INSERT INTO events.kept_logs (log, tenant) VALUES (this, of_tenant) ON CONFLICT DO NOTHING;
    INSERT INTO events.stream_rules (log, stream) VALUES (this, number) ON CONFLICT DO NOTHING;

    IF new_metadata IS NOT NULL THEN
        UPDATE events.stream_rules
        SET metadata = new_metadata, metadata_version = at_position
        WHERE log = this AND stream = number;
    END IF;

    IF sets_retention THEN
        UPDATE events.stream_rules
        SET max_age_s = age_s, max_count = count_max, truncate_before = before,
            retention_position = at_position, retention_at = at_time, retention_by = by_actor
        WHERE log = this AND stream = number;
    END IF;

    IF deletes THEN
        UPDATE events.stream_rules
        SET deleted_below = below, deleted_position = at_position, deleted_at = at_time,
            deleted_by = by_actor, is_tombstoned = tombstones,
            metadata = NULL, metadata_version = 0,
            max_age_s = NULL, max_count = NULL, truncate_before = NULL
        WHERE log = this AND stream = number;
    END IF;

    IF redacted IS NOT NULL THEN
        INSERT INTO events.redactions (log, position, by_position, redacted_at, redacted_by)
        VALUES (this, redacted, at_position, at_time, by_actor)
        ON CONFLICT DO NOTHING;
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.change_stream FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.change_stream TO girih_events;
