-- Has an event that is gone say what took it first, whenever its payload leaves the disk.
--
-- A record whose payload is taken keeps what it says. Of one that the keeper had not reached it was told
-- what came last: a stream was deleted of which retention had hidden a part, an event was redacted before.
-- Which of the two a reader was told hung on when the keeper had looked.

-- Also that a stream was deleted before it was deleted once more.
ALTER TYPE events.lapse ADD ATTRIBUTE reason smallint; -- as a `GoneReason`; NULL is retention

-- Some lapses with one more, in the order in which they came, but for those that are taken. Of more
-- than 100 that the keeper is behind with the oldest is left out, and what it was about is told by the
-- next: where no keeper may work they would grow for ever.
CREATE FUNCTION events.with_lapse(lapses events.lapse[], another events.lapse, taken_below bigint)
RETURNS events.lapse[]
IMMUTABLE LANGUAGE sql AS $$
    SELECT array(
        SELECT ROW(newest.*)::events.lapse
        FROM (
            SELECT *
            FROM unnest(lapses || another) AS one
            WHERE one.below > taken_below
            ORDER BY one.below DESC, one.position DESC
            LIMIT 100
        ) AS newest
        ORDER BY newest.below, newest.position
    );
$$;

-- Puts down what the retention of a stream hides, before another takes its place, or the stream is
-- deleted.
CREATE OR REPLACE FUNCTION events.put_lapse(rule events.stream_rules, below bigint, at_time timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    lapse events.lapse;
BEGIN
    lapse.below := events.retained_from(rule, below, at_time);
    IF lapse.below <= greatest(rule.deleted_below, rule.lapsed_below) THEN
        RETURN;
    END IF;
    lapse.position := rule.retention_position;
    lapse.at := rule.retention_at;
    lapse.by := rule.retention_by;
    lapse.reason := 1;

    UPDATE events.stream_rules
    SET lapsed_below = lapse.below,
        lapses = events.with_lapse(rule.lapses, lapse, rule.taken_below)
    WHERE log = rule.log AND stream = rule.stream;
END;
$$;

-- As before, and what a stream lost before it is deleted says so behind that.
CREATE OR REPLACE FUNCTION events.change_stream(
    of_tenant      text,
    of_stream      text,
    at_position    bigint,
    at_time        timestamptz,
    by_actor       text,
    below          bigint,
    new_metadata   text,
    sets_retention boolean,
    age_s          bigint,
    count_max      bigint,
    before         bigint,
    deletes        boolean,
    tombstones     boolean,
    redacted       bigint
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    number bigint;
    rule events.stream_rules;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    SELECT stream INTO STRICT number FROM events.streams WHERE log = this AND name = of_stream;

    INSERT INTO events.kept_logs (log, tenant) VALUES (this, of_tenant) ON CONFLICT DO NOTHING;
    INSERT INTO events.stream_rules (log, stream) VALUES (this, number) ON CONFLICT DO NOTHING;

    IF new_metadata IS NOT NULL THEN
        UPDATE events.stream_rules
        SET metadata = new_metadata, metadata_version = at_position
        WHERE log = this AND stream = number;
    END IF;

    IF sets_retention THEN
        -- The keeper waits with what it says of this stream.
        SELECT * INTO rule FROM events.stream_rules WHERE log = this AND stream = number FOR UPDATE;
        PERFORM events.put_lapse(rule, below, at_time);

        UPDATE events.stream_rules
        SET max_age_s = age_s, max_count = count_max, truncate_before = before,
            retention_position = at_position, retention_at = at_time, retention_by = by_actor
        WHERE log = this AND stream = number;
    END IF;

    IF deletes THEN
        SELECT * INTO rule FROM events.stream_rules WHERE log = this AND stream = number FOR UPDATE;
        PERFORM events.put_lapse(rule, below, at_time);

        UPDATE events.stream_rules
        SET lapses = CASE
                WHEN deleted_position IS NULL THEN lapses
                ELSE events.with_lapse(
                    lapses,
                    ROW(deleted_below, deleted_position, deleted_at, deleted_by, 2)::events.lapse,
                    taken_below
                )
            END,
            deleted_below = below, deleted_position = at_position, deleted_at = at_time,
            deleted_by = by_actor, is_tombstoned = tombstones,
            metadata = NULL, metadata_version = 0,
            max_age_s = NULL, max_count = NULL, truncate_before = NULL
        WHERE log = this AND stream = number;
    END IF;

    IF redacted IS NOT NULL THEN
        INSERT INTO events.redactions (log, position, by_position, redacted_at, redacted_by)
        VALUES (this, redacted, at_position, at_time, by_actor)
        ON CONFLICT DO NOTHING;
    END IF;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.with_lapse FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.with_lapse TO girih_events;
