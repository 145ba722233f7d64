-- Never has a lane end sooner than its consumer was told that it is its own.
--
-- Renewed for a lease that was made shorter meanwhile, it went to another while the consumer, which
-- knew the longer one, still began to handle events of it.
CREATE OR REPLACE FUNCTION events.group_beat(
    of_tenant text, of_name text, of_consumer text, with_name text, with_actor text,
    lanes integer[], tokens bigint[], consumer_count_max integer
) RETURNS TABLE (version bigint, lane_count integer, consumer_rank integer, consumer_count integer, kept integer[])
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
BEGIN
    SELECT * INTO known FROM events.groups WHERE log = this AND name = of_name FOR KEY SHARE;
    IF known.name IS NULL THEN
        RETURN;
    END IF;
    version := known.version;
    lane_count := known.lane_count;
    consumer_count := 0;
    consumer_rank := 0;

    -- What another process is at is gone soon as well.
    DELETE FROM events.group_consumers AS gone
    WHERE gone.ctid = ANY (ARRAY(
        SELECT ctid FROM events.group_consumers
        WHERE log = this AND name = of_name AND expires_at <= clock_timestamp() AND consumer <> of_consumer
        FOR UPDATE SKIP LOCKED
    ));
    UPDATE events.group_consumers
    SET expires_at = clock_timestamp() + known.lease
    WHERE log = this AND name = of_name AND consumer = of_consumer;
    IF NOT FOUND THEN
        IF (SELECT count(*) FROM events.group_consumers WHERE log = this AND name = of_name) >= consumer_count_max THEN
            RETURN NEXT;
            RETURN;
        END IF;
        INSERT INTO events.group_consumers (log, name, consumer, called, actor, expires_at)
        VALUES (this, of_name, of_consumer, with_name, with_actor, clock_timestamp() + known.lease);
    END IF;

    WITH renewed AS (
        UPDATE events.group_lanes AS led
        SET expires_at = greatest(led.expires_at, clock_timestamp() + known.lease)
        FROM unnest(lanes, tokens) AS own (lane, token)
        WHERE led.log = this
          AND led.name = of_name
          AND led.lane = own.lane
          AND led.token = own.token
          AND led.consumer = of_consumer
          AND led.expires_at > clock_timestamp()
        RETURNING led.lane
    )
    SELECT coalesce(array_agg(renewed.lane), '{}') INTO kept FROM renewed;

    SELECT count(*), count(*) FILTER (WHERE consumer < of_consumer)
    INTO consumer_count, consumer_rank
    FROM events.group_consumers
    WHERE log = this AND name = of_name AND expires_at > clock_timestamp();
    RETURN NEXT;
END;
$$;

-- In place of it, and not beside it: the version before calls it without the last argument.
DROP FUNCTION events.group_claim;

CREATE FUNCTION events.group_claim(
    of_tenant text, of_name text, of_consumer text, of_version bigint, count_max integer,
    least_s double precision DEFAULT 0 -- for which it was told that what it leads is its own
) RETURNS TABLE (lane integer, token bigint, checkpoint bigint, acked bigint[], incarnation text)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
BEGIN
    SELECT * INTO known FROM events.groups WHERE log = this AND name = of_name FOR KEY SHARE;
    -- Who knows other settings would read other events.
    IF known.version <> of_version THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE events.group_lanes AS led
    SET consumer = of_consumer, token = led.token + 1,
        expires_at = clock_timestamp() + greatest(known.lease, make_interval(secs => least_s))
    FROM (
        SELECT ready.lane FROM events.group_lanes AS ready
        WHERE ready.log = this
          AND ready.name = of_name
          AND (ready.consumer = '' OR ready.expires_at <= clock_timestamp())
        ORDER BY ready.lane
        LIMIT count_max
        FOR UPDATE SKIP LOCKED
    ) AS free
    WHERE led.log = this AND led.name = of_name AND led.lane = free.lane
    RETURNING led.lane, led.token, led.checkpoint, led.acked, led.incarnation;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.group_claim FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.group_claim TO girih_events;
