-- The second wall between tenants, behind the conditions of the statements themselves.
--
-- The service works as girih_events, whose every statement sees the log of one tenant, the
-- one that it has told in `girih.tenant`, or nothing. So a statement that forgets its
-- condition, or a call that passes on another's log, finds nothing there.
--
-- The tenant is told for one transaction and never for the session, which a pooler may give
-- to somebody else next. It is told by the statement that needs it, without a round trip
-- more: `FROM set_config('girih.tenant', $1, true) AS told (tenant)`, and what reads tables
-- stands in a LATERAL subquery with a LIMIT, which needs `told.tenant` to run and cannot be
-- merged into the query around it, so that no plan reads before the tenant is told. One that
-- did would find nothing.

-- Roles belong to all databases of a server, which may be migrated at the same time.
DO $$
BEGIN
    IF to_regrole('girih_events') IS NULL THEN
        CREATE ROLE girih_events NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- Whoever migrates may also serve, as in development. Tried first: a superuser needs no
-- membership, and another role may have one that it could not give itself.
DO $$
BEGIN
    SET LOCAL ROLE girih_events;
    RESET ROLE;
EXCEPTION
    WHEN insufficient_privilege THEN
        GRANT girih_events TO CURRENT_USER;
END;
$$;

GRANT USAGE ON SCHEMA events TO girih_events;
GRANT SELECT, INSERT (tenant), UPDATE (head) ON events.logs TO girih_events;
GRANT SELECT, INSERT ON events.records TO girih_events;
-- So that a process that may not migrate can tell whether somebody has.
GRANT SELECT ON events.schema_revision TO girih_events;
REVOKE EXECUTE ON FUNCTION events.refuse_change FROM PUBLIC;

-- Forced, so that the owner is behind the wall as well: nobody but girih_events has a policy.
ALTER TABLE events.logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.schema_revision ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- After the first transaction that told a tenant the setting is empty, and not unknown.
CREATE POLICY logs_of_tenant ON events.logs TO girih_events
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

-- The subquery depends on no record, so it runs once per statement and not once per row.
CREATE POLICY records_of_tenant ON events.records TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

-- It says nothing of any tenant. Written by whoever migrates.
CREATE POLICY schema_revision_of_all ON events.schema_revision
USING (true);

-- Moves the head of a log and inserts the records between the old head and the new one. False
-- when it did nothing: another process moved the head first, and what the records were
-- decided on is no longer so.
--
-- One call, hence one transaction without a round trip inside it: the row lock that the
-- UPDATE takes is held until the commit and never while a client thinks. An append that
-- comes meanwhile waits for it, then sees the moved head and inserts nothing. So positions
-- become visible in their order, and a reader at position 7 has seen 6.
--
-- A function, because in a single statement no order is promised between telling the tenant
-- and the UPDATE that needs it told.
CREATE FUNCTION events.append(
    of_tenant    text,
    behind       bigint, -- the position the records were decided on
    streams      text[], -- one entry per record, as in all that follow
    revisions    bigint[],
    event_ids    uuid[],
    digests      bytea[],
    new_records  bytea[]
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    UPDATE events.logs
    SET head = head + cardinality(streams)
    WHERE tenant = of_tenant AND head = behind
    RETURNING log INTO this;

    INSERT INTO events.records (log, position, revision, event_id, stream, digest, record)
    SELECT this, behind + new.ordinal, new.revision, new.event_id, new.stream, new.digest, new.record
    FROM unnest(streams, revisions, event_ids, digests, new_records)
        WITH ORDINALITY AS new (stream, revision, event_id, digest, record, ordinal)
    WHERE this IS NOT NULL;

    RETURN this IS NOT NULL;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.append TO girih_events;
