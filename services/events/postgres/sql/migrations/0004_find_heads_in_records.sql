-- The head of a log is the position of its last record and stands nowhere else; appends take
-- turns by a lock that leaves nothing behind.
--
-- Before, each append updated the log's row. A snapshot that somebody holds (a dump, a report, a
-- transaction forgotten open) keeps all old versions of a row alive, and every append and every
-- read walked over them: 1.9 ms an append became 8.7 ms at 200,000 versions.
--
-- What is stored is carried over, where the heads agree with the records; else the migration
-- refuses, says so, and changes nothing. `leaf_digest` goes: the digest is computed from what
-- stays, see record.py. Rows stored before keep its bytes until they are rewritten. A version of
-- girih from before this migration cannot append after it: none that stored events was released.

-- Else the owner, who is behind the wall as well, would see no log and no record.
ALTER TABLE events.logs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records NO FORCE ROW LEVEL SECURITY;

DO $$
DECLARE
    broken text;
BEGIN
    SELECT string_agg(
        format('log %s has head %s and its last record at %s', logs.log, logs.head, found.position), '; '
    )
    INTO broken
    FROM events.logs
    CROSS JOIN LATERAL (
        SELECT coalesce(max(records.position), 0) AS position
        FROM events.records
        WHERE records.log = logs.log
    ) AS found
    WHERE logs.head <> found.position;

    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'events are missing or were put in by hand: %. Restore a backup that is'
            ' whole. Nothing was changed.', broken
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END;
$$;

DROP FUNCTION events.append;

ALTER TABLE events.logs DROP COLUMN head;
-- They kept room for the versions of a row that changed with every append.
ALTER TABLE events.logs
    RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);

-- The digest of a payload that was taken away: without it nobody could prove any longer that a
-- header belongs to its `digest`, and through it to its leaf. Of one that is there it is computed.
ALTER TABLE events.records
    DROP COLUMN leaf_digest,
    ADD COLUMN payload_digest bytea,
    ADD CONSTRAINT records_payload_or_its_digest
        CHECK ((payload IS NULL) = (payload_digest IS NOT NULL) AND octet_length(payload_digest) = 32);

ALTER TABLE events.logs FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records FORCE ROW LEVEL SECURITY;

-- Waits for the turn to append to the log of a tenant, and answers the log's number; NULL, and
-- waits for nothing, when there is no such log. The turn lasts until the transaction ends.
--
-- Without it a reader that tails the log could pass position 7 while 6 is still uncommitted, and
-- never see 6. Turns come in the order of asking. The database gives the turn of a session that
-- ended to the next, and ends sessions that keep one and do nothing with it
-- (`idle_in_transaction_session_timeout`).
--
-- An advisory lock, since one on the log's row would write to it. Of two keys, the first of them
-- the table's own number: no lock of one key clashes, like that of migrations, and none that
-- somebody else names after a table of theirs. Logs 2^31 apart would share turns, which is no harm.
CREATE FUNCTION events.take_turn(of_tenant text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;

    PERFORM pg_advisory_xact_lock('events.logs'::regclass::oid::integer, (this % 2147483648)::integer);

    RETURN this;
END;
$$;

-- A record to be inserted: what is not the same for all records of an append, nor known from
-- where it stands among them.
CREATE TYPE events.new_record AS (
    stream         bigint,
    revision       bigint,
    event_id       uuid,
    type           text,
    correlation_id text,
    digest         bytea,
    tags           text[], -- NULL without any
    header         bytea,
    payload        bytea
);

-- Inserts records behind the head of a log, and the streams that begin with them. False when it
-- did nothing: another process appended first, and what the records were decided on is no longer so.
--
-- One call, hence one transaction without a round trip inside it: the turn is held until the
-- commit and never while a client thinks. An append that comes meanwhile waits, then sees the
-- moved head and inserts nothing. So positions become visible in their order, and a reader at
-- position 7 has seen 6.
--
-- A function, because each of its statements sees what was committed before that statement began
-- (under READ COMMITTED): a single statement would look for the head as of before its turn.
--
-- Records come as rows: to put a column of each into an array of its own took the service a
-- quarter longer, and the database as long.
CREATE FUNCTION events.append(
    of_tenant    text,
    behind       bigint, -- the position the records were decided on
    placed_at    timestamptz,
    begun        bigint[], -- the numbers of the streams that begin, and
    begun_names  text[],   -- their names
    new_records  events.new_record[]
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    head bigint;
BEGIN
    this := events.take_turn(of_tenant);

    SELECT position INTO head
    FROM events.records
    WHERE log = this
    ORDER BY position DESC
    LIMIT 1;

    IF this IS NULL OR coalesce(head, 0) <> behind THEN
        RETURN false;
    END IF;

    INSERT INTO events.streams (log, stream, name)
    SELECT this, new.stream, new.name
    FROM unnest(begun, begun_names) AS new (stream, name);

    INSERT INTO events.records (
        log, position, stream, revision, recorded_at, event_id, type, correlation_id,
        digest, tags, header, payload
    )
    SELECT this, behind + new.ordinality, new.stream, new.revision, placed_at, new.event_id,
        new.type, new.correlation_id, new.digest, new.tags, new.header, new.payload
    FROM unnest(new_records) WITH ORDINALITY AS new;

    RETURN true;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.take_turn, events.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.take_turn, events.append TO girih_events;
