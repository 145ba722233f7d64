-- Tells a log from what it was before a restore, a restart, or before another server took over.
--
-- A log that goes back gives out positions again, for other events. Whoever has read it would
-- go on behind the place that it knows and never see them, or see what others never saw. So
-- each log has an incarnation: a random value that readers are told with what they read, and
-- that changes when the log turns up in another place than it was written in.
--
-- Those that have ended stay, with the position up to which the log still holds what it held
-- then. Readers that had come no further go on as if nothing had happened.

-- Where this database is: the cluster, its timeline, the database in it, and since when its server
-- runs. A restored dump and a copy have another cluster or database; recovery and promotion begin
-- a timeline. A snapshot of the disks that is brought back has none of it, but takes a restart:
-- so each restart begins an incarnation, in which nobody who lost nothing notices anything.
CREATE FUNCTION events.place() RETURNS text
STABLE LANGUAGE sql AS $$
    SELECT concat_ws(
        '/',
        (SELECT system_identifier FROM pg_control_system()),
        CASE
            WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
        END,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        extract(epoch FROM pg_postmaster_start_time())
    );
$$;

-- The incarnations of each log: the one with the highest number is the present one.
CREATE TABLE events.incarnations (
    log           bigint      NOT NULL,
    number        bigint      NOT NULL CHECK (number >= 1),
    incarnation   text        COLLATE "C" NOT NULL,
    place         text        COLLATE "C" NOT NULL,
    -- The position up to which it holds what the one before it held.
    begins_behind bigint      NOT NULL CHECK (begins_behind >= 0),
    begun_at      timestamptz NOT NULL DEFAULT now(),

    -- Without it two processes that notice at the same time could both begin one.
    CONSTRAINT incarnations_number PRIMARY KEY (log, number),
    CONSTRAINT incarnations_incarnation UNIQUE (log, incarnation)
);

CREATE TRIGGER incarnations_never_change
BEFORE UPDATE OR DELETE OR TRUNCATE ON events.incarnations
FOR EACH STATEMENT EXECUTE FUNCTION events.refuse_change();

ALTER TABLE events.incarnations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY incarnations_of_tenant ON events.incarnations TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

GRANT SELECT, INSERT ON events.incarnations TO girih_events;

-- The position of a log's last record, 0 when it has none.
CREATE FUNCTION events.head_of(this bigint) RETURNS bigint
STABLE LANGUAGE sql AS $$
    SELECT coalesce(max(position), 0) FROM events.records WHERE log = this;
$$;

-- The incarnation of a tenant's log and its head; no row when nobody has appended to it. It
-- begins a new one when the log is not where it was, or ends before `seen_head`, which the
-- process has seen of the incarnation `seen`.
--
-- A process asks before it uses a log through a connection that it has just opened, and so
-- before it appends to it there: where the head is then, the incarnations part.
CREATE FUNCTION events.confirm(of_tenant text, seen text, seen_head bigint)
RETURNS TABLE (incarnation text, head bigint)
LANGUAGE plpgsql AS $$
DECLARE
    here text := events.place();
    this bigint;
    newest events.incarnations;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    IF this IS NULL THEN
        RETURN;
    END IF;

    FOR look IN 1..2 LOOP
        SELECT * INTO newest FROM events.incarnations WHERE log = this ORDER BY number DESC LIMIT 1;
        head := events.head_of(this);
        incarnation := newest.incarnation;
        IF newest.place = here AND (incarnation <> seen OR head >= seen_head) THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- Looked at once more in its turn: nobody appends meanwhile, and of several who notice
        -- only the first begins one.
        PERFORM events.take_turn(of_tenant);
    END LOOP;

    INSERT INTO events.incarnations (log, number, incarnation, place, begins_behind)
    VALUES (
        this,
        coalesce(newest.number, 0) + 1,
        encode(substring(uuid_send(gen_random_uuid()) FROM 9), 'hex'),
        here,
        head
    )
    RETURNING incarnations.incarnation INTO incarnation;
    RETURN NEXT;
END;
$$;

-- Which of several logs are not as they were seen last, by one call for all of them: those with
-- another head, in another incarnation, or in another place. One after the other, for each is
-- behind its own wall.
CREATE FUNCTION events.moved(tenants text[], seen text[], heads bigint[])
RETURNS TABLE (tenant text)
LANGUAGE plpgsql AS $$
DECLARE
    here text := events.place();
    asked record;
    this bigint;
    newest events.incarnations;
BEGIN
    FOR asked IN SELECT * FROM unnest(tenants, seen, heads) AS one (tenant, incarnation, head) LOOP
        PERFORM set_config('girih.tenant', asked.tenant, true);
        SELECT logs.log INTO this FROM events.logs WHERE logs.tenant = asked.tenant;
        SELECT * INTO newest FROM events.incarnations WHERE log = this ORDER BY number DESC LIMIT 1;
        IF coalesce(newest.incarnation, '') <> asked.incarnation
            OR newest.place <> here
            OR events.head_of(this) <> asked.head
        THEN
            tenant := asked.tenant;
            RETURN NEXT;
        END IF;
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.place, events.head_of, events.confirm, events.moved FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.place, events.head_of, events.confirm, events.moved
TO girih_events;
