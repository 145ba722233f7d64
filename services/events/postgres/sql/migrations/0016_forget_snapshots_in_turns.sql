-- Has those who save a snapshot and those who forget the snapshots of a stream take turns.
--
-- Whoever deletes a stream, or redacts an event, deletes its snapshots in the same transaction, and did
-- not see one that another transaction was saving: its state stayed on the disk. Either waits
-- for the other now, and who comes second sees what the first has done.

CREATE OR REPLACE FUNCTION events.save_snapshot(
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

    -- Perhaps since the caller looked. Without it the state would stay on the disk, of no use.
    IF EXISTS (
        SELECT
        FROM events.stream_rules
        WHERE stream_rules.log = this
          AND stream_rules.stream = number
          AND stream_rules.deleted_below > of_revision
    ) THEN
        RETURN false;
    END IF;

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

CREATE OR REPLACE FUNCTION events.forget_snapshots_of_deleted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('events.snapshots'::regclass::oid::integer, (NEW.stream % 2147483648)::integer);
    DELETE FROM events.snapshots
    WHERE snapshots.log = NEW.log
      AND snapshots.stream = NEW.stream
      AND snapshots.revision < NEW.deleted_below;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION events.forget_snapshots_of_redacted() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    redacted record;
BEGIN
    SELECT records.stream, records.revision INTO redacted
    FROM events.records
    WHERE records.log = NEW.log AND records.position = NEW.position;

    PERFORM pg_advisory_xact_lock('events.snapshots'::regclass::oid::integer, (redacted.stream % 2147483648)::integer);
    DELETE FROM events.snapshots
    WHERE snapshots.log = NEW.log
      AND snapshots.stream = redacted.stream
      AND snapshots.revision >= redacted.revision;
    RETURN NULL;
END;
$$;
