-- How many events a log has of each type and of each category, without counting them each time.
--
-- Counts are kept up to a position, and whoever asks for them first counts on from there, a bounded
-- step at a time: an append counts nothing, since all appends to a log would change the same rows.
-- What is gone was counted once and stays counted.

CREATE TABLE events.tallies (
    log          bigint NOT NULL,
    kind         text   COLLATE "C" NOT NULL CHECK (kind IN ('type', 'category')),
    name         text   COLLATE "C" NOT NULL,
    event_count  bigint NOT NULL,
    stream_count bigint NOT NULL, -- of a category

    CONSTRAINT tallies_name PRIMARY KEY (log, kind, name)
);

-- Up to where a log was counted.
CREATE TABLE events.tallied (
    log     bigint NOT NULL,
    through bigint NOT NULL CHECK (through >= 0),

    CONSTRAINT tallied_log PRIMARY KEY (log)
);

ALTER TABLE events.tallies ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.tallied ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tallies_of_tenant ON events.tallies TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY tallied_of_tenant ON events.tallied TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
GRANT SELECT, INSERT, UPDATE ON events.tallies, events.tallied TO girih_events;

-- Counts so many records more, unless another process is at it, and answers up to where the log is
-- counted and where it ends; no row when nobody has appended to it.
CREATE FUNCTION events.tally(of_tenant text, record_count_max bigint)
RETURNS TABLE (counted bigint, head bigint)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    upto bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    IF this IS NULL THEN
        RETURN;
    END IF;

    head := events.head_of(this);
    counted := coalesce((SELECT through FROM events.tallied WHERE log = this), 0);
    -- Without the lock two who count would count the same records twice.
    IF counted < head AND pg_try_advisory_xact_lock(
        'events.tallies'::regclass::oid::integer, (this % 2147483648)::integer
    ) THEN
        counted := coalesce((SELECT through FROM events.tallied WHERE log = this), 0);
        upto := least(head, counted + record_count_max);

        INSERT INTO events.tallies AS known (log, kind, name, event_count, stream_count)
        SELECT this, 'type', records.type, count(*), 0
        FROM events.records
        WHERE log = this AND position > counted AND position <= upto
        GROUP BY records.type
        UNION ALL
        SELECT
            this,
            'category',
            split_part(named.name, '-', 1),
            sum(found.event_count),
            sum(found.stream_count)
        FROM (
            SELECT
                stream,
                count(*) AS event_count,
                count(*) FILTER (WHERE revision = 0) AS stream_count
            FROM events.records
            WHERE log = this AND position > counted AND position <= upto
            GROUP BY stream
        ) AS found
        CROSS JOIN LATERAL (
            SELECT name
            FROM events.streams
            -- Said as a range and in order, so that no plan looks through all names.
            WHERE log = this AND stream >= found.stream AND stream <= found.stream
            ORDER BY stream
            LIMIT 1
        ) AS named
        GROUP BY split_part(named.name, '-', 1)
        ON CONFLICT ON CONSTRAINT tallies_name DO UPDATE
        SET event_count = known.event_count + excluded.event_count,
            stream_count = known.stream_count + excluded.stream_count;

        INSERT INTO events.tallied AS known (log, through)
        VALUES (this, upto)
        ON CONFLICT ON CONSTRAINT tallied_log DO UPDATE SET through = excluded.through;
        counted := upto;
    END IF;
    RETURN NEXT;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.tally FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.tally TO girih_events;
