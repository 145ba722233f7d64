-- The logs, and the records in them.

-- One log per tenant. `head` is the position of its last record; every append moves it,
-- and that row's lock is what puts appends in order: see append_records.sql. Pages are
-- kept nearly empty so that moving a head finds room beside the old version and touches
-- no index (a HOT update), however often it happens between two vacuums.
CREATE TABLE events.logs (
    log    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text   NOT NULL UNIQUE,
    head   bigint NOT NULL DEFAULT 0 CHECK (head >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What was appended. `record` holds the bytes that readers get; the columns beside it
-- exist for the indexes alone.
--
-- Records are kept as they are: compressing those beyond 2 kB took half as long again as
-- writing them, while the log's row is locked, and twice as long to read back.
--
-- There is no foreign key to events.logs: each insert would lock the log's row once per
-- record, and the one statement that inserts has just updated that row.
CREATE TABLE events.records (
    log      bigint NOT NULL,
    position bigint NOT NULL CHECK (position >= 1),
    revision bigint NOT NULL CHECK (revision >= 0),
    event_id uuid   NOT NULL,
    stream   text   NOT NULL,
    digest   bytea  NOT NULL CHECK (octet_length(digest) = 32),
    record   bytea  NOT NULL,

    CONSTRAINT records_position PRIMARY KEY (log, position),
    -- Without it two replicas that decide on stale state could both give out a revision.
    CONSTRAINT records_revision UNIQUE (log, stream, revision),
    -- Without it a repeated append would store its events twice.
    CONSTRAINT records_event_id UNIQUE (log, event_id)
);

ALTER TABLE events.records ALTER COLUMN record SET STORAGE EXTERNAL;

-- Nobody rewrites history by mistake, the owner of the table included.
CREATE FUNCTION events.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events.records is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

-- Per statement, so that it costs an append nothing.
CREATE TRIGGER records_never_change
BEFORE UPDATE OR DELETE OR TRUNCATE ON events.records
FOR EACH STATEMENT EXECUTE FUNCTION events.refuse_change();
