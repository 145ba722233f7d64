-- Puts the events of another log down at the positions and times that they had there.
--
-- A log may be restored as long as it holds nothing else: `restored` says up to where it was, and
-- an event that somebody appends behind that ends it, without a lock or a mode that somebody
-- would have to leave again.

CREATE TABLE events.restored (
    log     bigint NOT NULL,
    through bigint NOT NULL CHECK (through >= 1),

    CONSTRAINT restored_log PRIMARY KEY (log)
);

ALTER TABLE events.restored ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY restored_of_tenant ON events.restored TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
GRANT SELECT, INSERT, UPDATE ON events.restored TO girih_events;

-- A record as it was in another log.
CREATE TYPE events.restored_record AS (
    stream         text,
    revision       bigint,
    recorded_at    timestamptz,
    event_id       uuid,
    type           text,
    correlation_id text,
    digest         bytea,
    tags           text[], -- NULL without any
    header         bytea,
    payload        bytea,  -- NULL when it is gone, and then
    payload_digest bytea   -- this is not
);

-- Inserts records behind a position, or nothing, and answers what came of it:
--
--   restored      and where the log ends now
--   misplaced     it does not end there, and where it does
--   not empty     it holds what was not restored, and where it ends
--   out of order  and the position whose revision or time does not follow those before it
--
-- As with appends, one call in its turn: see events.append.
CREATE FUNCTION events.restore(of_tenant text, behind bigint, records events.restored_record[])
RETURNS TABLE (outcome text, at bigint)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    last_recorded_at timestamptz;
BEGIN
    this := events.take_turn(of_tenant);
    at := events.head_of(this);

    IF at <> coalesce((SELECT through FROM events.restored WHERE log = this), 0) THEN
        outcome := 'not empty';
        RETURN NEXT;
        RETURN;
    END IF;
    IF at <> behind THEN
        outcome := 'misplaced';
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT recorded_at INTO last_recorded_at
    FROM events.records
    WHERE log = this AND position = behind;

    SELECT behind + min(new.ordinality) INTO at
    FROM (
        SELECT
            numbered.*,
            row_number() OVER (PARTITION BY stream ORDER BY ordinality) AS count_of_stream,
            lag(recorded_at, 1, last_recorded_at) OVER (ORDER BY ordinality) AS recorded_before
        FROM unnest(records) WITH ORDINALITY AS numbered
    ) AS new
    LEFT JOIN LATERAL (
        SELECT newest.revision
        FROM events.streams
        CROSS JOIN LATERAL (
            SELECT records.revision
            FROM events.records
            WHERE records.log = this AND records.stream = streams.stream
            ORDER BY records.revision DESC
            LIMIT 1
        ) AS newest
        WHERE streams.log = this AND streams.name = new.stream
    ) AS last ON true
    WHERE new.revision <> coalesce(last.revision, -1) + new.count_of_stream
       OR new.recorded_at < new.recorded_before;
    IF at IS NOT NULL THEN
        outcome := 'out of order';
        RETURN NEXT;
        RETURN;
    END IF;

    INSERT INTO events.streams (log, stream, name)
    SELECT this, behind + new.ordinality, new.stream
    FROM unnest(records) WITH ORDINALITY AS new
    WHERE new.revision = 0;

    INSERT INTO events.records (
        log, position, stream, revision, recorded_at, event_id, type, correlation_id,
        digest, tags, header, payload, payload_digest
    )
    SELECT this, behind + new.ordinality, streams.stream, new.revision, new.recorded_at,
        new.event_id, new.type, new.correlation_id, new.digest, new.tags, new.header, new.payload,
        new.payload_digest
    FROM unnest(records) WITH ORDINALITY AS new
    JOIN events.streams ON streams.log = this AND streams.name = new.stream
    ORDER BY new.ordinality;

    -- Readers look for what is gone in logs of which that is known.
    INSERT INTO events.kept_logs (log, tenant)
    SELECT this, of_tenant
    WHERE EXISTS (SELECT FROM unnest(records) AS new WHERE new.payload IS NULL)
    ON CONFLICT DO NOTHING;

    at := behind + cardinality(records);
    INSERT INTO events.restored AS known (log, through)
    VALUES (this, at)
    ON CONFLICT ON CONSTRAINT restored_log DO UPDATE SET through = excluded.through;

    outcome := 'restored';
    RETURN NEXT;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.restore FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.restore TO girih_events;
