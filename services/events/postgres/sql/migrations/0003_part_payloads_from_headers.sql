-- Streams as numbers, payloads apart from what stays of an event for ever, and the columns that
-- filters will need.
--
-- The table is replaced and nothing is carried over: no version that stored events was released.
-- Where events are stored the migration refuses, says so, and changes nothing.

-- Else the owner, who is behind the wall as well, would take a full table for an empty one.
ALTER TABLE events.logs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records NO FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF EXISTS (SELECT FROM events.records) OR EXISTS (SELECT FROM events.logs WHERE head > 0) THEN
        RAISE EXCEPTION 'events.records holds events in the layout of an unreleased version, which'
            ' this one does not read: move the database away and start on an empty one, or keep'
            ' the version that wrote them. Nothing was changed.'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END;
$$;

DROP FUNCTION events.append;
DROP TABLE events.records;

-- Text that is in an index is compared byte by byte: under another collation an upgrade of the
-- C library changes the order, and with it the uniqueness, of what is stored already.
DROP POLICY logs_of_tenant ON events.logs;
ALTER TABLE events.logs ALTER COLUMN tenant TYPE text COLLATE "C";
CREATE POLICY logs_of_tenant ON events.logs TO girih_events
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
ALTER TABLE events.logs FORCE ROW LEVEL SECURITY;

-- The streams of a log, each with a number in place of its name, which may have 255 bytes and
-- would stand twice in every record. A stream's number is the position of its first event: whoever
-- appends that event knows it without asking.
CREATE TABLE events.streams (
    log    bigint NOT NULL,
    stream bigint NOT NULL CHECK (stream >= 1),
    name   text   COLLATE "C" NOT NULL,

    CONSTRAINT streams_stream PRIMARY KEY (log, stream),
    -- Without it two replicas that decide on stale state could both begin a stream.
    CONSTRAINT streams_name UNIQUE (log, name)
);

-- What was appended. Readers get `header || payload`, two pieces of one serialized
-- `RecordedEvent`: the header holds all but the payload of its event, the payload a second `event`
-- with nothing else, and protobuf merges the two. The layout of both digests is in record.py.
--
-- A payload of NULL is one that was taken away, which nothing does yet. Its header and digests
-- stay: ids are still known, and a tree over the leaf digests still proves every position.
--
-- The other columns are for the indexes and for filters, which need no change of the table:
--
--   types           an index on (log, type, position)
--   correlation id  an index on (log, correlation_id, position)
--   tags            a table of (log, tag, position), filled from `tags` when it is made: a GIN
--                   index knows no order of positions
--   prefix, category  streams_name finds the numbers of the streams, since it is in byte order;
--                   records_revision their records
--   recorded at     none: times grow with positions but for the server's clock
--
-- Header and payload are kept as they are: compressing those beyond 2 kB took half as long again
-- as writing them, while the log's row is locked, and twice as long to read back.
--
-- There are no foreign keys: each insert would lock the log's row and the stream's once per record.
-- The columns of fixed size come first, for then none is padded.
CREATE TABLE events.records (
    log            bigint      NOT NULL,
    position       bigint      NOT NULL CHECK (position >= 1),
    stream         bigint      NOT NULL CHECK (stream >= 1),
    revision       bigint      NOT NULL CHECK (revision >= 0),
    recorded_at    timestamptz NOT NULL,
    event_id       uuid        NOT NULL,
    type           text        COLLATE "C" NOT NULL,
    correlation_id text        COLLATE "C" NOT NULL,
    digest         bytea       NOT NULL CHECK (octet_length(digest) = 32),
    leaf_digest    bytea       NOT NULL CHECK (octet_length(leaf_digest) = 32),
    tags           text[]      COLLATE "C" CHECK (cardinality(tags) >= 1), -- NULL without any
    header         bytea       NOT NULL,
    payload        bytea,

    CONSTRAINT records_position PRIMARY KEY (log, position),
    -- Without it two replicas that decide on stale state could both give out a revision.
    CONSTRAINT records_revision UNIQUE (log, stream, revision),
    -- Without it a repeated append would store its events twice.
    CONSTRAINT records_event_id UNIQUE (log, event_id)
);

ALTER TABLE events.records
    ALTER COLUMN header SET STORAGE EXTERNAL,
    ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Nobody rewrites history by mistake, the owner of the tables included.
CREATE OR REPLACE FUNCTION events.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

-- Per statement, so that it costs an append nothing.
CREATE TRIGGER records_never_change
BEFORE UPDATE OR DELETE OR TRUNCATE ON events.records
FOR EACH STATEMENT EXECUTE FUNCTION events.refuse_change();

CREATE TRIGGER streams_never_change
BEFORE UPDATE OR DELETE OR TRUNCATE ON events.streams
FOR EACH STATEMENT EXECUTE FUNCTION events.refuse_change();

GRANT SELECT, INSERT ON events.streams, events.records TO girih_events;

ALTER TABLE events.streams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- The subqueries depend on no row, so they run once per statement and not once per row.
CREATE POLICY streams_of_tenant ON events.streams TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY records_of_tenant ON events.records TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

-- Moves the head of a log and inserts the records between the old head and the new one, and the
-- streams that begin with them. False when it did nothing: another process moved the head first,
-- and what the records were decided on is no longer so.
--
-- One call, hence one transaction without a round trip inside it: the row lock that the
-- UPDATE takes is held until the commit and never while a client thinks. An append that
-- comes meanwhile waits for it, then sees the moved head and inserts nothing. So positions
-- become visible in their order, and a reader at position 7 has seen 6.
--
-- A function, because in a single statement no order is promised between telling the tenant
-- and the UPDATE that needs it told.
CREATE FUNCTION events.append(
    of_tenant        text,
    behind           bigint, -- the position the records were decided on
    placed_at        timestamptz,
    begun            bigint[], -- the numbers of the streams that begin, and
    begun_names      text[],   -- their names
    streams          bigint[], -- one entry per record, as in all that follow
    revisions        bigint[],
    event_ids        uuid[],
    types            text[],
    correlation_ids  text[],
    digests          bytea[],
    leaf_digests     bytea[],
    tag_lists        text[],   -- each an array as text, or NULL
    headers          bytea[],
    payloads         bytea[]
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

    INSERT INTO events.streams (log, stream, name)
    SELECT this, new.stream, new.name
    FROM unnest(begun, begun_names) AS new (stream, name)
    WHERE this IS NOT NULL;

    INSERT INTO events.records (
        log, position, stream, revision, recorded_at, event_id, type, correlation_id,
        digest, leaf_digest, tags, header, payload
    )
    SELECT this, behind + new.ordinal, new.stream, new.revision, placed_at, new.event_id,
        new.type, new.correlation_id, new.digest, new.leaf_digest, new.tags::text[],
        new.header, new.payload
    FROM unnest(
        streams, revisions, event_ids, types, correlation_ids, digests, leaf_digests, tag_lists,
        headers, payloads
    ) WITH ORDINALITY AS new (
        stream, revision, event_id, type, correlation_id, digest, leaf_digest, tags,
        header, payload, ordinal
    )
    WHERE this IS NOT NULL;

    RETURN this IS NOT NULL;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.append TO girih_events;
