-- Consumer groups: who leads which lane of a log, how far it is, and what waits apart from it.
--
-- A lane has a checkpoint: everything of it up to there is settled, or is held, which is a row of
-- its own. Beside it stands what was acknowledged beyond. So what is written for each commit of a
-- lane is one row, however many events it was.

CREATE TABLE events.groups (
    log               bigint      NOT NULL,
    name              text        COLLATE "C" NOT NULL,
    -- Of the settings.
    version           bigint      NOT NULL DEFAULT 1,
    lane_count        integer     NOT NULL CHECK (lane_count >= 1),
    key_tag_prefix    text        COLLATE "C" NOT NULL,
    -- As the contract has it; NULL wants all.
    filter            bytea,
    attempt_count_max integer     NOT NULL,
    passes_parked     boolean     NOT NULL,
    held_count_max    integer     NOT NULL,
    lease             interval    NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT groups_name PRIMARY KEY (log, name)
);

-- The lanes of a group as they are cut now. A token only ever grows, also from one cut to the next.
--
-- Pages are kept half empty, so that each commit of a lane finds room beside its old version.
CREATE TABLE events.group_lanes (
    log         bigint      NOT NULL,
    name        text        COLLATE "C" NOT NULL,
    lane        integer     NOT NULL,
    token       bigint      NOT NULL,
    -- Empty when it is free.
    consumer    text        COLLATE "C" NOT NULL DEFAULT '',
    expires_at  timestamptz NOT NULL DEFAULT '-infinity',
    checkpoint  bigint      NOT NULL,
    -- Acknowledged beyond the checkpoint, in order.
    acked       bigint[]    NOT NULL DEFAULT '{}',
    -- Of the log that it has read.
    incarnation text        COLLATE "C" NOT NULL,

    CONSTRAINT group_lanes_lane PRIMARY KEY (log, name, lane),
    FOREIGN KEY (log, name) REFERENCES events.groups ON DELETE CASCADE
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What was settled before lanes were cut anew: of an event up to `through`, its key's old lane tells
-- whether it was. Gone when all lanes are past it.
CREATE TABLE events.group_cuts (
    log         bigint   NOT NULL,
    name        text     COLLATE "C" NOT NULL,
    cut         bigint   GENERATED ALWAYS AS IDENTITY,
    through     bigint   NOT NULL,
    -- One for each lane that there was.
    checkpoints bigint[] NOT NULL,
    -- Acknowledged beyond them.
    acked       bigint[] NOT NULL,
    -- Of the log that the lane had read which was first.
    incarnation text     COLLATE "C" NOT NULL,

    CONSTRAINT group_cuts_cut PRIMARY KEY (log, name, cut),
    FOREIGN KEY (log, name) REFERENCES events.groups ON DELETE CASCADE
);

-- Events that wait apart from their lane: to be tried again, behind such a one of their key, or
-- parked. Lanes may be cut anew around them: which one they are of follows from the hash.
CREATE TABLE events.group_held (
    log           bigint      NOT NULL,
    name          text        COLLATE "C" NOT NULL,
    position      bigint      NOT NULL,
    key           text        COLLATE "C" NOT NULL,
    key_hash      bigint      NOT NULL,
    state         text        COLLATE "C" NOT NULL CHECK (state IN ('retry', 'waiting', 'parked')),
    attempt_count integer     NOT NULL,
    due_at        timestamptz NOT NULL,
    reason        text        NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT group_held_position PRIMARY KEY (log, name, position),
    FOREIGN KEY (log, name) REFERENCES events.groups ON DELETE CASCADE
);

CREATE TABLE events.group_consumers (
    log        bigint      NOT NULL,
    name       text        COLLATE "C" NOT NULL,
    consumer   text        COLLATE "C" NOT NULL,
    -- What it calls itself, and who it is.
    called     text        NOT NULL,
    actor      text        NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,

    CONSTRAINT group_consumers_consumer PRIMARY KEY (log, name, consumer),
    FOREIGN KEY (log, name) REFERENCES events.groups ON DELETE CASCADE
) WITH (fillfactor = 50);

ALTER TABLE events.groups ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.group_lanes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.group_cuts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.group_held ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.group_consumers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY groups_of_tenant ON events.groups TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY group_lanes_of_tenant ON events.group_lanes TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY group_cuts_of_tenant ON events.group_cuts TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY group_held_of_tenant ON events.group_held TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY group_consumers_of_tenant ON events.group_consumers TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
GRANT SELECT, INSERT, UPDATE, DELETE
ON events.groups, events.group_lanes, events.group_cuts, events.group_held, events.group_consumers
TO girih_events;

-- Below, whoever changes a group, or cuts its lanes, locks its row; whoever works on a lane keeps the
-- row as it is meanwhile. So no lane is cut anew in the middle of a commit, and locks of lanes are
-- always taken behind that of their group.

-- The log of a tenant, from now on that of the transaction. It comes into being when it must.
CREATE FUNCTION events.group_log(of_tenant text, is_made boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    IF is_made THEN
        INSERT INTO events.logs (tenant) VALUES (of_tenant) ON CONFLICT (tenant) DO NOTHING;
    END IF;
    RETURN (SELECT log FROM events.logs WHERE tenant = of_tenant);
END;
$$;

-- Creates a group whose events are those behind a position, and answers its version: 0 when there
-- are as many as there may be. One that is there stays as it is, and `is_new` is false.
CREATE FUNCTION events.group_create(
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
        SELECT this, of_name, one.lane, 0, behind, in_incarnation
        FROM generate_series(0, lanes - 1) AS one (lane);
        version := 1;
    END IF;
    RETURN NEXT;
END;
$$;

-- Cuts the lanes of a group anew, whose row the caller has locked: all begin where the first of the
-- old ones is, and `group_cuts` tells what was settled behind that. No lane is led afterwards.
CREATE FUNCTION events.group_cut(this bigint, of_name text, lanes integer) RETURNS void
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
    -- That of the lane which is last: what the new ones read next is from there.
    SELECT incarnation INTO read_in
    FROM events.group_lanes WHERE log = this AND name = of_name
    ORDER BY checkpoint LIMIT 1;

    IF reached > begins THEN
        INSERT INTO events.group_cuts (log, name, through, checkpoints, acked, incarnation)
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
            )
        FROM events.group_lanes WHERE log = this AND name = of_name;
    END IF;

    DELETE FROM events.group_lanes WHERE log = this AND name = of_name;
    INSERT INTO events.group_lanes (log, name, lane, token, checkpoint, incarnation)
    SELECT this, of_name, one.lane, newest, begins, read_in
    FROM generate_series(0, lanes - 1) AS one (lane);
END;
$$;

-- Changes the settings of a group, and cuts its lanes anew when it must. The outcome is one of
-- 'changed', 'same', 'absent', 'key' (it would be another), 'moved' (another version is there) and
-- 'cutting' (there are `cut_count_max` cuts).
CREATE FUNCTION events.group_update(
    of_tenant text, of_name text, lanes integer, with_prefix text, with_filter bytea,
    attempts integer, passes boolean, held_max integer, lease_s double precision,
    expected bigint, cut_count_max integer
) RETURNS TABLE (outcome text, version bigint)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
    is_cut boolean;
BEGIN
    SELECT * INTO known FROM events.groups WHERE log = this AND name = of_name FOR UPDATE;
    version := known.version;
    IF known.name IS NULL THEN
        outcome := 'absent';
    ELSIF expected NOT IN (0, known.version) THEN
        outcome := 'moved';
    ELSIF known.key_tag_prefix <> with_prefix THEN
        outcome := 'key';
    ELSIF (known.lane_count, known.attempt_count_max, known.passes_parked, known.held_count_max, known.lease)
        = (lanes, attempts, passes, held_max, make_interval(secs => lease_s))
        AND known.filter IS NOT DISTINCT FROM with_filter
    THEN
        outcome := 'same';
    ELSE
        is_cut := known.lane_count <> lanes OR known.filter IS DISTINCT FROM with_filter;
        IF is_cut THEN
            PERFORM events.group_forget_cuts(this, of_name);
            IF (SELECT count(*) FROM events.group_cuts WHERE log = this AND name = of_name) >= cut_count_max THEN
                outcome := 'cutting';
                RETURN NEXT;
                RETURN;
            END IF;
            PERFORM events.group_cut(this, of_name, lanes);
        END IF;
        UPDATE events.groups AS changed
        SET version = known.version + 1, lane_count = lanes, filter = with_filter,
            attempt_count_max = attempts, passes_parked = passes, held_count_max = held_max,
            lease = make_interval(secs => lease_s)
        WHERE changed.log = this AND changed.name = of_name;
        version := known.version + 1;
        outcome := 'changed';
    END IF;
    RETURN NEXT;
END;
$$;

-- Cuts that all lanes are past tell nothing any more.
CREATE FUNCTION events.group_forget_cuts(this bigint, of_name text) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM events.group_cuts
    WHERE log = this
      AND name = of_name
      AND through <= (SELECT min(checkpoint) FROM events.group_lanes WHERE log = this AND name = of_name);
$$;

-- Deletes a group, and with it all rows that name it.
CREATE FUNCTION events.group_delete(of_tenant text, of_name text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
BEGIN
    DELETE FROM events.groups WHERE log = this AND name = of_name;
END;
$$;

-- Has a group go on behind a position, whatever was settled; false when there is none. No lane is led
-- afterwards.
CREATE FUNCTION events.group_reset(of_tenant text, of_name text, behind bigint, in_incarnation text)
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
    UPDATE events.group_lanes
    SET token = token + 1, consumer = '', expires_at = '-infinity', checkpoint = behind, acked = '{}',
        incarnation = in_incarnation
    WHERE log = this AND name = of_name;
    RETURN true;
END;
$$;

-- Has a consumer be there for as long as the lease of the group, makes the lanes last as long that it
-- leads, and answers which these are. `consumer_rank` of `consumer_count` consumers is its place
-- among those that are there, from 0. No row when there is no group; a count of 0 when there are as
-- many consumers as there may be.
CREATE FUNCTION events.group_beat(
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
        SET expires_at = clock_timestamp() + known.lease
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

-- Has a consumer lead up to so many lanes more that nobody leads, each under a new token, and answers
-- them.
CREATE FUNCTION events.group_claim(
    of_tenant text, of_name text, of_consumer text, of_version bigint, count_max integer
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
    SET consumer = of_consumer, token = led.token + 1, expires_at = clock_timestamp() + known.lease
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

-- Writes how far lanes are, and what they hold apart, and answers those lanes for which it did: those
-- that are led under that token and whose lease lasts. Of the others nothing is written.
--
-- The statement that writes looks at the token, so who was paused for longer than its lease settles
-- nothing, however late it is.
CREATE FUNCTION events.group_settle(
    of_tenant       text,
    of_name         text,
    lanes           integer[], -- one entry per lane, as in the three that follow
    tokens          bigint[],
    checkpoints     bigint[],
    incarnations    text[],
    acked_lanes     integer[], -- one entry per event acknowledged beyond them, in order
    acked_positions bigint[],
    held_lanes      integer[], -- one entry per event that is held from now on, or otherwise
    held_positions  bigint[],
    held_keys       text[],
    held_hashes     bigint[],
    held_states     text[],
    held_attempts   integer[],
    held_delays_s   double precision[],
    held_reasons    text[],
    freed_lanes     integer[], -- one entry per event that is not held any more
    freed_positions bigint[]
) RETURNS integer[]
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    accepted integer[];
BEGIN
    PERFORM FROM events.groups WHERE log = this AND name = of_name FOR KEY SHARE;

    WITH written AS (
        UPDATE events.group_lanes AS led
        SET checkpoint = new.checkpoint,
            incarnation = new.incarnation,
            acked = ARRAY(
                SELECT one.position
                FROM unnest(acked_lanes, acked_positions) AS one (lane, position)
                WHERE one.lane = new.lane
            )
        FROM unnest(lanes, tokens, checkpoints, incarnations)
            AS new (lane, token, checkpoint, incarnation)
        WHERE led.log = this
          AND led.name = of_name
          AND led.lane = new.lane
          AND led.token = new.token AND led.consumer <> '' AND led.expires_at > clock_timestamp()
        RETURNING led.lane
    )
    SELECT coalesce(array_agg(written.lane), '{}') INTO accepted FROM written;

    INSERT INTO events.group_held AS known (
        log, name, position, key, key_hash, state, attempt_count, due_at, reason
    )
    SELECT
        this, of_name, held.position, held.key, held.key_hash, held.state, held.attempt_count,
        clock_timestamp() + make_interval(secs => held.delay_s), held.reason
    FROM unnest(
        held_lanes, held_positions, held_keys, held_hashes, held_states, held_attempts,
        held_delays_s, held_reasons
    ) AS held (lane, position, key, key_hash, state, attempt_count, delay_s, reason)
    WHERE held.lane = ANY (accepted)
    ON CONFLICT ON CONSTRAINT group_held_position DO UPDATE
    SET state = excluded.state,
        attempt_count = excluded.attempt_count,
        due_at = excluded.due_at,
        reason = excluded.reason,
        changed_at = excluded.changed_at;

    DELETE FROM events.group_held AS held
    USING unnest(freed_lanes, freed_positions) AS freed (lane, position)
    WHERE held.log = this
      AND held.name = of_name
      AND held.position = freed.position
      AND freed.lane = ANY (accepted);

    RETURN accepted;
END;
$$;

-- Gives up lanes, as far as they are led under these tokens, and the consumer with them when it goes.
CREATE FUNCTION events.group_release(
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
        DELETE FROM events.group_consumers
        WHERE log = this AND name = of_name AND consumer = of_consumer;
    END IF;
END;
$$;

-- Gives parked events to consumers again, or discards them: those at `positions`, all of them when it
-- is NULL. Answers how many, NULL when there is no such group, and -1 when one is not parked: then
-- nothing is changed. Who leads their lanes begins anew.
CREATE FUNCTION events.group_unpark(
    of_tenant text, of_name text, positions bigint[], is_replayed boolean
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.group_log(of_tenant, false);
    known events.groups;
    meant bigint[];
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

    UPDATE events.group_lanes
    SET token = token + 1, consumer = '', expires_at = '-infinity'
    WHERE log = this
      AND name = of_name
      AND lane IN (
          SELECT key_hash % known.lane_count
          FROM events.group_held
          WHERE log = this AND name = of_name AND position = ANY (meant)
      );
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

REVOKE EXECUTE ON FUNCTION
    events.group_log, events.group_create, events.group_cut, events.group_update, events.group_delete,
    events.group_forget_cuts, events.group_reset, events.group_beat, events.group_claim,
    events.group_settle, events.group_release, events.group_unpark
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    events.group_log, events.group_create, events.group_cut, events.group_update, events.group_delete,
    events.group_forget_cuts, events.group_reset, events.group_beat, events.group_claim,
    events.group_settle, events.group_release, events.group_unpark
TO girih_events;
