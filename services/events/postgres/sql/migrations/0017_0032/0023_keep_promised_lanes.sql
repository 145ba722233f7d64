-- Never gives a lane to another while its consumer may take it for its own, as it was told.
--
-- Lanes that were cut anew, reset or unparked were free at once: until their consumer heard of that, it
-- began to handle events that another had settled. And a lane that was renewed for a lease which had been
-- made shorter meanwhile ended sooner than its consumer knew.
--
-- And a group that was deleted and created anew began again with the same version and tokens: consumers
-- of the one before, which had not heard of it, went on in the other by the settings that they knew.
ALTER TABLE events.group_consumers
    -- Until then it may take lanes for its own that were taken from it, unless it says that it knows.
    ADD COLUMN void_until timestamptz NOT NULL DEFAULT '-infinity';

-- Notes whose lanes are about to be taken from them, and for how long they may not know: these, all when
-- it is NULL.
CREATE FUNCTION events.group_void(this bigint, of_name text, of_lanes integer[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE events.group_consumers AS known
    SET void_until = greatest(known.void_until, led.until)
    FROM (
        SELECT consumer, max(expires_at) AS until
        FROM events.group_lanes
        WHERE log = this AND name = of_name AND consumer <> '' AND (of_lanes IS NULL OR lane = ANY (of_lanes))
        GROUP BY consumer
    ) AS led
    WHERE known.log = this AND known.name = of_name AND known.consumer = led.consumer;
$$;
REVOKE EXECUTE ON FUNCTION events.group_void FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.group_void TO girih_events;

-- Creates a group whose events are those behind a position, and answers its version: 0 when there
-- are as many as there may be. One that is there stays as it is, and `is_new` is false.
CREATE OR REPLACE FUNCTION events.group_create(
    of_tenant text, of_name text, lanes integer, with_prefix text, with_filter bytea,
    attempts integer, passes boolean, held_max integer, lease_s double precision,
    behind bigint, in_incarnation text, count_max integer
) RETURNS TABLE (version bigint, is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, true);
BEGIN
    -- Those who create at the same time one after the other, or there would be more than may be.
    PERFORM pg_advisory_xact_lock('events.groups'::regclass::oid::integer, (this % 2147483648)::integer);
    SELECT groups.version INTO version FROM events.groups WHERE log = this AND name = of_name;
    is_new := version IS NULL;
    IF is_new AND (SELECT count(*) FROM events.groups WHERE log = this) >= count_max THEN
        version := 0;
    ELSIF is_new THEN
        INSERT INTO events.groups (
            log, name, lane_count, key_tag_prefix, filter, attempt_count_max, passes_parked,
            held_count_max, lease
        )
        VALUES (
            this, of_name, lanes, with_prefix, with_filter, attempts, passes, held_max,
            make_interval(secs => lease_s)
        );
        INSERT INTO events.group_lanes (log, name, lane, token, checkpoint, incarnation)
        -- Tokens behind all of a group that had this name before, by milliseconds: each takes longer.
        SELECT this, of_name, one.lane, (1000 * extract(epoch FROM clock_timestamp()))::bigint, behind, in_incarnation
        FROM generate_series(0, lanes - 1) AS one (lane);
        version := 1;
    END IF;
    RETURN NEXT;
END;
$$;

-- Cuts the lanes of a group anew, whose row the caller has locked: all begin where the first of the
-- old ones is, and `group_cuts` tells what was settled behind that. No lane is led afterwards.
CREATE OR REPLACE FUNCTION events.group_cut(this bigint, of_name text, lanes integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    begins bigint;
    reached bigint;
    newest bigint;
    read_in text;
BEGIN
    SELECT min(checkpoint), max(greatest(checkpoint, acked[cardinality(acked)])), max(token)
    INTO begins, reached, newest
    FROM events.group_lanes WHERE log = this AND name = of_name;
    reached := greatest(
        reached,
        (SELECT max(position) FROM events.group_held WHERE log = this AND name = of_name)
    );
    -- That of the lane which is last: what the new ones read next is from there.
    SELECT incarnation INTO read_in
    FROM events.group_lanes WHERE log = this AND name = of_name
    ORDER BY checkpoint LIMIT 1;

    IF reached > begins THEN
        INSERT INTO events.group_cuts (log, name, through, checkpoints, acked, incarnation, filter)
        SELECT
            this, of_name, reached, array_agg(checkpoint ORDER BY lane),
            (
                SELECT coalesce(array_agg(one.position ORDER BY one.position), '{}')
                FROM events.group_lanes AS old
                CROSS JOIN LATERAL unnest(old.acked) AS one (position)
                WHERE old.log = this AND old.name = of_name
            ),
            (
                SELECT incarnation
                FROM events.group_lanes
                WHERE log = this AND name = of_name
                ORDER BY greatest(checkpoint, acked[cardinality(acked)]) DESC
                LIMIT 1
            ),
            -- As it still is: the group is changed behind this.
            (SELECT groups.filter FROM events.groups WHERE log = this AND name = of_name)
        FROM events.group_lanes WHERE log = this AND name = of_name;
    END IF;

    PERFORM events.group_void(this, of_name, NULL);
    DELETE FROM events.group_lanes WHERE log = this AND name = of_name;
    INSERT INTO events.group_lanes (log, name, lane, token, checkpoint, incarnation)
    SELECT this, of_name, one.lane, newest, begins, read_in
    FROM generate_series(0, lanes - 1) AS one (lane);
END;
$$;

-- Has a group go on behind a position, whatever was settled; false when there is none. No lane is led
-- afterwards.
CREATE OR REPLACE FUNCTION events.group_reset(of_tenant text, of_name text, behind bigint, in_incarnation text)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
BEGIN
    PERFORM FROM events.groups WHERE log = this AND name = of_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM events.group_held WHERE log = this AND name = of_name;
    DELETE FROM events.group_cuts WHERE log = this AND name = of_name;
    PERFORM events.group_void(this, of_name, NULL);
    UPDATE events.group_lanes
    SET token = token + 1, consumer = '', expires_at = '-infinity', checkpoint = behind, acked = '{}',
        incarnation = in_incarnation
    WHERE log = this AND name = of_name;
    RETURN true;
END;
$$;

-- Gives parked events to consumers again, or discards them: those at `positions`, all of them when it
-- is NULL. Answers how many, NULL when there is no such group, and -1 when one is not parked: then
-- nothing is changed. Who leads their lanes begins anew.
CREATE OR REPLACE FUNCTION events.group_unpark(
    of_tenant text, of_name text, positions bigint[], is_replayed boolean
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
    meant bigint[];
    freed integer[];
BEGIN
    SELECT * INTO known FROM events.groups WHERE log = this AND name = of_name FOR UPDATE;
    IF known.name IS NULL THEN
        RETURN NULL;
    END IF;
    meant := ARRAY(
        SELECT position FROM events.group_held
        WHERE log = this
          AND name = of_name
          AND state = 'parked'
          AND (positions IS NULL OR position = ANY (positions))
    );
    IF positions IS NOT NULL AND cardinality(meant) < cardinality(positions) THEN
        RETURN -1;
    END IF;

    freed := ARRAY(
        SELECT DISTINCT (key_hash % known.lane_count)::integer
        FROM events.group_held
        WHERE log = this AND name = of_name AND position = ANY (meant)
    );
    PERFORM events.group_void(this, of_name, freed);
    UPDATE events.group_lanes
    SET token = token + 1, consumer = '', expires_at = '-infinity'
    WHERE log = this AND name = of_name AND lane = ANY (freed);
    IF is_replayed THEN
        UPDATE events.group_held
        SET state = 'retry', attempt_count = 0, due_at = clock_timestamp(), changed_at = now()
        WHERE log = this AND name = of_name AND position = ANY (meant);
    ELSE
        -- Nothing else tells of those that their lane was not read up to.
        UPDATE events.group_lanes AS led
        SET acked = ARRAY(
            SELECT one.position
            FROM (
                SELECT unnest(led.acked)
                UNION
                SELECT held.position
                FROM events.group_held AS held
                WHERE held.log = this
                  AND held.name = of_name
                  AND held.position = ANY (meant)
                  AND held.position > led.checkpoint
                  AND held.key_hash % known.lane_count = led.lane
            ) AS one (position)
            ORDER BY one.position
        )
        WHERE led.log = this AND led.name = of_name;
        DELETE FROM events.group_held
        WHERE log = this AND name = of_name AND position = ANY (meant);
    END IF;
    RETURN cardinality(meant);
END;
$$;

-- Gives up lanes, as far as they are led under these tokens, and the consumer with them when it goes.
CREATE OR REPLACE FUNCTION events.group_release(
    of_tenant text, of_name text, of_consumer text, lanes integer[], tokens bigint[], goes boolean
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
BEGIN
    PERFORM FROM events.groups WHERE log = this AND name = of_name FOR KEY SHARE;
    UPDATE events.group_lanes AS led
    SET consumer = '', expires_at = '-infinity'
    FROM unnest(lanes, tokens) AS own (lane, token)
    WHERE led.log = this AND led.name = of_name AND led.lane = own.lane AND led.token = own.token;
    IF goes THEN
        -- Those too that it was given and never heard of.
        UPDATE events.group_lanes
        SET consumer = '', expires_at = '-infinity'
        WHERE log = this AND name = of_name AND consumer = of_consumer;
        DELETE FROM events.group_consumers
        WHERE log = this AND name = of_name AND consumer = of_consumer;
    END IF;
END;
$$;

-- In place of it, and not beside it, as below: the version before calls it without the last argument.
DROP FUNCTION events.group_beat;

-- Has a consumer be there for as long as the lease of the group, makes the lanes last as long that it
-- leads, and answers which these are. `consumer_rank` of `consumer_count` consumers is its place
-- among those that are there, from 0. No row when there is no group; a count of 0 when there are as
-- many consumers as there may be. `is_freed` when others need not wait for it any longer.
CREATE FUNCTION events.group_beat(
    of_tenant text, of_name text, of_consumer text, with_name text, with_actor text,
    lanes integer[], tokens bigint[], consumer_count_max integer,
    is_up_to_date boolean DEFAULT true -- its consumer knows which lanes it has
) RETURNS TABLE (version bigint, lane_count integer, consumer_rank integer, consumer_count integer, kept integer[], created_at timestamptz, is_freed boolean)
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
    created_at := known.created_at;
    is_freed := false;
    lane_count := known.lane_count;
    consumer_count := 0;
    consumer_rank := 0;

    -- What another process is at is gone soon as well.
    -- But for who may still take lanes for its own.
    DELETE FROM events.group_consumers AS gone
    WHERE gone.ctid = ANY (ARRAY(
        SELECT old.ctid FROM events.group_consumers AS old
        WHERE old.log = this AND old.name = of_name AND old.consumer <> of_consumer
          AND greatest(old.expires_at, old.void_until) <= clock_timestamp()
          AND NOT EXISTS (
              SELECT FROM events.group_lanes AS led
              WHERE led.log = this AND led.name = of_name
                AND led.consumer = old.consumer AND led.expires_at > clock_timestamp()
          )
        FOR UPDATE OF old SKIP LOCKED
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

    -- Not while it is about to learn that it has lost some.
    IF is_up_to_date AND cardinality(kept) = cardinality(lanes) THEN
        UPDATE events.group_consumers
        SET void_until = '-infinity'
        WHERE log = this AND name = of_name AND consumer = of_consumer AND void_until > clock_timestamp();
        is_freed := FOUND;
    END IF;

    SELECT count(*), count(*) FILTER (WHERE consumer < of_consumer)
    INTO consumer_count, consumer_rank
    FROM events.group_consumers
    WHERE log = this AND name = of_name AND expires_at > clock_timestamp();
    RETURN NEXT;
END;
$$;

DROP FUNCTION events.group_claim;

-- Has a consumer lead up to so many lanes more that nobody leads, each under a new token, and answers
-- them.
CREATE FUNCTION events.group_claim(
    of_tenant text, of_name text, of_consumer text, of_version bigint, count_max integer,
    least_s double precision DEFAULT 0, -- for which it was told that what it leads is its own
    of_created timestamptz DEFAULT NULL -- when the group was created that the consumer knows
) RETURNS TABLE (lane integer, token bigint, checkpoint bigint, acked bigint[], incarnation text)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
BEGIN
    SELECT * INTO known FROM events.groups WHERE log = this AND name = of_name FOR KEY SHARE;
    -- Who knows other settings would read other events.
    IF known.version <> of_version OR known.created_at <> of_created THEN
        RETURN;
    END IF;
    -- A consumer may still handle what was of a lane that it does not know it has lost.
    IF EXISTS (
        SELECT FROM events.group_consumers
        WHERE log = this AND name = of_name AND consumer <> of_consumer AND void_until > clock_timestamp()
    ) THEN
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

REVOKE EXECUTE ON FUNCTION events.group_beat, events.group_claim FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.group_beat, events.group_claim TO girih_events;
