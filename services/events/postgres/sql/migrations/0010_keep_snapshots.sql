-- States that programs have folded streams into: a cache that may be lost, and is no part of the log.
--
-- So they may be deleted, which nothing else here may. A snapshot names the event that it was
-- taken at by its place, and the incarnation that the log had: whoever loads one sees whether
-- the log still holds that.
CREATE TABLE events.snapshots (
    log            bigint      NOT NULL,
    stream         bigint      NOT NULL CHECK (stream >= 1),
    revision       bigint      NOT NULL CHECK (revision >= 0),
    position       bigint      NOT NULL CHECK (position >= 1),
    saved_at       timestamptz NOT NULL DEFAULT now(),
    schema_version integer     NOT NULL CHECK (schema_version >= 0),
    is_json        boolean     NOT NULL,
    incarnation    text        COLLATE "C" NOT NULL,
    content_type   text        COLLATE "C" NOT NULL,
    seal           bytea       NOT NULL CHECK (octet_length(seal) = 32),
    content        bytea       NOT NULL,

    CONSTRAINT snapshots_revision PRIMARY KEY (log, stream, revision)
);

-- As with payloads: compressing takes longer than writing.
ALTER TABLE events.snapshots ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE events.snapshots ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY snapshots_of_tenant ON events.snapshots TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);

GRANT SELECT, INSERT, DELETE ON events.snapshots TO girih_events;

-- Keeps a snapshot in place of another of its revision, and of those of its stream the newest
-- `count_max`, and none of events that the stream does not hold; answers whether it is among them.
--
-- Those who save at the same time one after the other: else each would count without the others,
-- and more would stay than are to be kept.
CREATE FUNCTION events.save_snapshot(
    of_tenant      text,
    of_stream      text,
    of_revision    bigint,
    of_position    bigint,
    with_version   integer,
    holds_json     boolean,
    in_incarnation text,
    of_type        text,
    with_seal      bytea,
    with_content   bytea,
    count_max      bigint
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    number bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    SELECT streams.stream INTO number
    FROM events.streams
    WHERE streams.log = this AND streams.name = of_stream;
    IF number IS NULL THEN
        RETURN false;
    END IF;

    PERFORM pg_advisory_xact_lock('events.snapshots'::regclass::oid::integer, (number % 2147483648)::integer);

    DELETE FROM events.snapshots
    WHERE snapshots.log = this
      AND snapshots.stream = number
      AND (
          snapshots.revision = of_revision
          OR NOT EXISTS (
              SELECT
              FROM events.records
              WHERE records.log = this
                AND records.stream = number
                AND records.revision = snapshots.revision
                AND records.position = snapshots.position
          )
      );

    INSERT INTO events.snapshots (
        log, stream, revision, position, schema_version, is_json, incarnation, content_type, seal,
        content
    )
    VALUES (
        this, number, of_revision, of_position, with_version, holds_json, in_incarnation, of_type,
        with_seal, with_content
    );

    DELETE FROM events.snapshots
    WHERE snapshots.log = this
      AND snapshots.stream = number
      AND snapshots.revision < (
          SELECT kept.revision
          FROM events.snapshots AS kept
          WHERE kept.log = this AND kept.stream = number
          ORDER BY kept.revision DESC
          OFFSET count_max - 1
          LIMIT 1
      );

    RETURN EXISTS (
        SELECT
        FROM events.snapshots
        WHERE snapshots.log = this AND snapshots.stream = number AND snapshots.revision = of_revision
    );
END;
$$;

REVOKE EXECUTE ON FUNCTION events.save_snapshot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.save_snapshot TO girih_events;

-- A state may hold what was in its events: when they are deleted, or one of them is redacted, it is
-- deleted in the same transaction.
CREATE FUNCTION events.forget_snapshots_of_deleted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM events.snapshots
    WHERE snapshots.log = NEW.log
      AND snapshots.stream = NEW.stream
      AND snapshots.revision < NEW.deleted_below;
    RETURN NULL;
END;
$$;

CREATE TRIGGER stream_rules_forget_snapshots
AFTER UPDATE OF deleted_below ON events.stream_rules
FOR EACH ROW EXECUTE FUNCTION events.forget_snapshots_of_deleted();

CREATE FUNCTION events.forget_snapshots_of_redacted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM events.snapshots
    USING events.records
    WHERE records.log = NEW.log
      AND records.position = NEW.position
      AND snapshots.log = NEW.log
      AND snapshots.stream = records.stream
      AND snapshots.revision >= records.revision;
    RETURN NULL;
END;
$$;

CREATE TRIGGER redactions_forget_snapshots
AFTER INSERT ON events.redactions
FOR EACH ROW EXECUTE FUNCTION events.forget_snapshots_of_redacted();

REVOKE EXECUTE ON FUNCTION events.forget_snapshots_of_deleted, events.forget_snapshots_of_redacted
FROM PUBLIC;
