-- Keeps no snapshot of a state that may hold an event as it was before it was redacted.
--
-- Whoever redacts an event deletes the snapshots that it is in. Who had folded it before saved
-- his state afterwards, and what was to be gone came back. So a state says where the log ended when
-- the first of its events was read: a redaction behind that may not be in it.

-- Else each save would look at all redactions of the log.
CREATE INDEX redactions_by_position ON events.redactions (log, by_position);

-- In place of it, and not beside it: the version before calls it without the last argument.
DROP FUNCTION events.save_snapshot;

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
    count_max      bigint,
    read_position  bigint DEFAULT 0 -- 0 where it is not known
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

    -- It may hold what nobody is to read any more.
    IF EXISTS (
        SELECT
        FROM events.redactions
        JOIN events.records USING (log, position)
        WHERE redactions.log = this
          AND redactions.by_position > read_position
          AND records.stream = number
          AND records.revision <= of_revision
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

REVOKE EXECUTE ON FUNCTION events.save_snapshot FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.save_snapshot TO girih_events;
