-- Has what a rule hid stay gone when the rule is relaxed, also where its payload is not taken yet.
--
-- Events lapse as others are appended or time goes by, of which the keeper learns at its next look.
-- A rule that was changed before that look brought them back; whether it did hung on when the
-- keeper had looked last.

-- That a stream lost what lies below a revision by a rule that holds no longer.
CREATE TYPE events.lapse AS (
    below    bigint,
    position bigint, -- of the event that said the rule, as in the next two
    at       timestamptz,
    by       text
);

ALTER TABLE events.stream_rules
    -- Revisions below it are gone by rules before the one that holds.
    ADD COLUMN lapsed_below bigint NOT NULL DEFAULT 0 CHECK (lapsed_below >= 0),
    -- By which of them, in the order of revisions: those that were not taken when it last changed.
    ADD COLUMN lapses events.lapse[] NOT NULL DEFAULT '{}';

-- The revision below which a stream that ends before `below` is hidden at a time by its retention. Older
-- events come first, so a binary search finds the first that is not too old, however long the stream.
CREATE FUNCTION events.retained_from(rule events.stream_rules, below bigint, at_time timestamptz)
RETURNS bigint
STABLE LANGUAGE plpgsql AS $$
DECLARE
    low bigint := least(greatest(rule.truncate_before, below - rule.max_count, 0), below);
    high bigint := below;
    middle bigint;
BEGIN
    WHILE rule.max_age_s IS NOT NULL AND low < high LOOP
        middle := (low + high) / 2;
        IF EXISTS (
            SELECT
            FROM events.records
            WHERE log = rule.log
              AND stream = rule.stream
              AND revision = middle
              AND recorded_at < at_time - rule.max_age_s * interval '1 second'
        ) THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END;
$$;

-- Puts down what the retention of a stream hides, before another takes its place. Of more than 100
-- lapses that the keeper is behind with the oldest is left out, and what it was about is told by the
-- next: where no keeper may work they would grow for ever.
CREATE FUNCTION events.put_lapse(rule events.stream_rules, below bigint, at_time timestamptz)
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

    UPDATE events.stream_rules
    SET lapsed_below = lapse.below,
        lapses = array(
            SELECT ROW(newest.*)::events.lapse
            FROM (
                SELECT *
                FROM unnest(rule.lapses || lapse) AS one
                WHERE one.below > rule.taken_below
                ORDER BY one.below DESC
                LIMIT 100
            ) AS newest
            ORDER BY newest.below
        )
    WHERE log = rule.log AND stream = rule.stream;
END;
$$;

-- As in 0008_keep_streams.sql, and what the retention before hid stays gone.
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
        UPDATE events.stream_rules
        SET deleted_below = below, deleted_position = at_position, deleted_at = at_time,
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

REVOKE EXECUTE ON FUNCTION events.retained_from, events.put_lapse FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.retained_from, events.put_lapse TO girih_events;
