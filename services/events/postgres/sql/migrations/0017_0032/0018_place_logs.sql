-- Logs in several databases, each in one of them: where a log is, and how it gets to another.
--
-- Each database, a place, has a row in `logs` for the logs that are there, and for those that were. A
-- row says where its log is; the first place has a row for every log. A log is read and written
-- where its row says that it is, and nowhere else: every statement asks, in its own transaction.

-- Moves logs from place to place: copies them to where they are not yet, and deletes them where they
-- are not any more. Of a log that is here it changes nothing but that row.
DO $$
BEGIN
    IF to_regrole('girih_events_mover') IS NULL THEN
        CREATE ROLE girih_events_mover NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- Whoever migrates may also serve, as in development. Where the role is another's to grant, the
-- process works all the same, and only moves no logs.
DO $$
BEGIN
    SET LOCAL ROLE girih_events_mover;
    RESET ROLE;
EXCEPTION
    -- The other value is a role that another database of the server has made just now.
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        BEGIN
            GRANT girih_events_mover TO CURRENT_USER;
        EXCEPTION
            WHEN insufficient_privilege THEN
                NULL;
        END;
END;
$$;

ALTER TABLE events.logs
    -- The place where the log is; NULL when that is this one.
    ADD COLUMN moved_to text COLLATE "C",
    -- Where it is copied to; NULL while it stays here.
    ADD COLUMN moving_to text COLLATE "C",
    -- Of the last move that the log began, here or to here. Grows with each attempt, wherever the
    -- log is: of two places that name each other, the higher one is right.
    ADD COLUMN move bigint NOT NULL DEFAULT 0,
    -- When it left or came.
    ADD COLUMN moved_at timestamptz,
    -- There are rows here of a log that is elsewhere: what was copied so far, or is left behind.
    ADD COLUMN holds_copy boolean NOT NULL DEFAULT false,
    -- It comes to here, and has not arrived: what `moved_to` says holds until it leaves there.
    ADD COLUMN is_awaited boolean NOT NULL DEFAULT false,
    -- How long whoever moves it has it to itself.
    ADD COLUMN mover_until timestamptz NOT NULL DEFAULT '-infinity';

-- What movers look for, again and again; empty most of the time.
CREATE INDEX logs_to_move ON events.logs (log) WHERE moving_to IS NOT NULL OR holds_copy;

-- Refuses a statement about a log that is elsewhere, and says where, and by which move.
CREATE FUNCTION events.refuse_elsewhere(moved_to text, move bigint) RETURNS bigint
STABLE LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is at the place %', moved_to
        USING ERRCODE = 'GH001', DETAIL = moved_to, HINT = move;
END;
$$;

-- The logs that are here. Whoever asks for one that is not is refused, and finds no empty log.
-- Statements about what is in a log ask this and not the table: so none works on a copy that is left
-- behind, however old what a process knows of places. One that is here costs nothing more.
CREATE VIEW events.logs_here WITH (security_invoker = true) AS
SELECT
    CASE WHEN moved_to IS NULL THEN log ELSE events.refuse_elsewhere(moved_to, move) END AS log,
    tenant
FROM events.logs;

-- As in 0004_find_heads_in_records.sql, for a log that is here when the turn has come: it may have
-- left meanwhile.
CREATE OR REPLACE FUNCTION events.take_turn(of_tenant text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;

    PERFORM pg_advisory_xact_lock('events.logs'::regclass::oid::integer, (this % 2147483648)::integer);

    RETURN (SELECT log FROM events.logs_here WHERE tenant = of_tenant);
END;
$$;

-- Answers the log of a tenant, from now on that of the transaction, for who changes what belongs to
-- it and appends nothing: it stays here until the transaction ends. Many at a time.
CREATE FUNCTION events.stay(of_tenant text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;

    PERFORM pg_advisory_xact_lock_shared('events.logs_here'::regclass::oid::integer, (this % 2147483648)::integer);

    RETURN (SELECT log FROM events.logs_here WHERE tenant = of_tenant);
END;
$$;

-- As in 0013_lead_groups.sql, for a log that stays here.
CREATE OR REPLACE FUNCTION events.group_log(of_tenant text, is_made boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    IF is_made THEN
        INSERT INTO events.logs (tenant) VALUES (of_tenant) ON CONFLICT (tenant) DO NOTHING;
    END IF;
    RETURN events.stay(of_tenant);
END;
$$;

-- As in 0005_tell_incarnations.sql, for a log that is here.
CREATE OR REPLACE FUNCTION events.confirm(of_tenant text, seen text, seen_head bigint)
RETURNS TABLE (incarnation text, head bigint)
LANGUAGE plpgsql AS $$
DECLARE
    here text := events.place();
    this bigint;
    newest events.incarnations;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);

    SELECT log INTO this FROM events.logs_here WHERE tenant = of_tenant;
    IF this IS NULL THEN
        RETURN;
    END IF;

    FOR look IN 1..2 LOOP
        SELECT * INTO newest FROM events.incarnations WHERE log = this ORDER BY number DESC LIMIT 1;
        head := events.head_of(this);
        incarnation := newest.incarnation;
        IF newest.place = here AND (incarnation <> seen OR head >= seen_head) THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- Looked at once more in its turn: nobody appends meanwhile, and of several who notice
        -- only the first begins one.
        PERFORM events.take_turn(of_tenant);
    END LOOP;

    INSERT INTO events.incarnations (log, number, incarnation, place, begins_behind)
    VALUES (
        this,
        coalesce(newest.number, 0) + 1,
        encode(substring(uuid_send(gen_random_uuid()) FROM 9), 'hex'),
        here,
        head
    )
    RETURNING incarnations.incarnation INTO incarnation;
    RETURN NEXT;
END;
$$;

-- As in 0005_tell_incarnations.sql; one that has left is not as it was, and refuses nobody here.
CREATE OR REPLACE FUNCTION events.moved(tenants text[], seen text[], heads bigint[])
RETURNS TABLE (tenant text)
LANGUAGE plpgsql AS $$
DECLARE
    here text := events.place();
    asked record;
    own events.logs;
    newest events.incarnations;
BEGIN
    FOR asked IN SELECT * FROM unnest(tenants, seen, heads) AS one (tenant, incarnation, head) LOOP
        PERFORM set_config('girih.tenant', asked.tenant, true);
        SELECT * INTO own FROM events.logs WHERE logs.tenant = asked.tenant;
        SELECT * INTO newest FROM events.incarnations WHERE log = own.log ORDER BY number DESC LIMIT 1;
        IF own.moved_to IS NOT NULL
            OR coalesce(newest.incarnation, '') <> asked.incarnation
            OR newest.place <> here
            OR events.head_of(own.log) <> asked.head
        THEN
            tenant := asked.tenant;
            RETURN NEXT;
        END IF;
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION events.refuse_elsewhere, events.stay FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events.refuse_elsewhere, events.stay TO girih_events;
GRANT SELECT ON events.logs_here TO girih_events;
GRANT SELECT (moved_to, moving_to, move) ON events.logs TO girih_events_lister;

-- Below is what movers do.

-- Nobody rewrites history by mistake, the owner of the tables included. The keeper may update records;
-- the mover may delete them, where a policy lets it.
CREATE OR REPLACE FUNCTION events.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'records' AND current_user = 'girih_events_keeper' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' AND current_user = 'girih_events_mover' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'events.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

-- Which logs there are, and where, it sees of all tenants, and what is in them of one at a time; and
-- it puts in and deletes where a log is not, and nowhere else.
GRANT USAGE ON SCHEMA events TO girih_events_mover;
GRANT SELECT ON events.logs, events.logs_here, events.schema_revision TO girih_events_mover;
GRANT INSERT (tenant, moved_to, move, holds_copy, is_awaited) ON events.logs TO girih_events_mover;
GRANT UPDATE (moved_to, moving_to, move, moved_at, holds_copy, is_awaited, mover_until)
ON events.logs TO girih_events_mover;
CREATE POLICY logs_of_mover ON events.logs TO girih_events_mover
USING (true);

DO $$
DECLARE
    of_table text;
BEGIN
    FOREACH of_table IN ARRAY ARRAY[
        'group_consumers', 'group_cuts', 'group_held', 'group_lanes', 'groups', 'incarnations',
        'kept_logs', 'labels', 'records', 'redactions', 'restored', 'snapshots', 'stream_rules',
        'streams', 'tallied', 'tallies', 'unlabelled'
    ] LOOP
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON events.%I TO girih_events_mover', of_table);
        EXECUTE format(
            'CREATE POLICY %I ON events.%I FOR SELECT TO girih_events_mover USING (log = (SELECT log'
            ' FROM events.logs WHERE tenant = nullif(current_setting(''girih.tenant'', true), '''')))',
            of_table || '_seen_by_mover', of_table
        );
        EXECUTE format(
            'CREATE POLICY %I ON events.%I TO girih_events_mover USING (log = (SELECT log'
            ' FROM events.logs WHERE tenant = nullif(current_setting(''girih.tenant'', true), '''')'
            ' AND moved_to IS NOT NULL))',
            of_table || '_of_mover', of_table
        );
    END LOOP;
END;
$$;

-- What a row is told from others by, as an expression on `one`: all of it, or for those that may be
-- large what changes with it.
CREATE FUNCTION events.row_hash_of(of_table text) RETURNS text
IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE of_table
        WHEN 'snapshots' THEN
            'md5(concat_ws(''/'', one.stream, one.revision, one.position, one.saved_at, one.seal))'
        ELSE 'md5((to_jsonb(one) - ''log'')::text)'
    END;
$$;

-- The hashes of the rows of a table that belong to a log.
CREATE FUNCTION events.carried_hashes(of_tenant text, of_table text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    RETURN QUERY EXECUTE format(
        'SELECT %s FROM events.%I AS one WHERE log = $1', events.row_hash_of(of_table), of_table
    ) USING this;
END;
$$;

-- The rows that have these hashes, as text.
CREATE FUNCTION events.carried_rows(of_tenant text, of_table text, hashes text[]) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    RETURN QUERY EXECUTE format(
        'SELECT one::text FROM events.%I AS one WHERE log = $1 AND %s = ANY ($2)',
        of_table, events.row_hash_of(of_table)
    ) USING this, hashes;
END;
$$;

-- The log of a tenant that is copied to here by a move, whose row is kept as it is until the transaction ends;
-- NULL when it is not, or by another move: so a mover that was overtaken changes nothing more.
CREATE FUNCTION events.received_log(of_tenant text, by_move bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    RETURN (
        SELECT log FROM events.logs
        WHERE tenant = of_tenant AND is_awaited AND moved_to IS NOT NULL AND move = by_move
        FOR UPDATE
    );
END;
$$;

-- Puts rows down as they were elsewhere, but for the number of the log.
CREATE FUNCTION events.put_rows(this bigint, of_table text, rows text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO events.%1$I OVERRIDING SYSTEM VALUE SELECT put.* FROM unnest($2) AS one'
        ' CROSS JOIN LATERAL jsonb_populate_record(one::events.%1$I, jsonb_build_object(''log'', $1)) AS put',
        of_table
    ) USING this, rows;
    IF of_table = 'group_cuts' AND cardinality(rows) > 0 THEN
        -- The numbers of cuts grow, also from place to place.
        PERFORM setval(
            'events.group_cuts_cut_seq',
            greatest(
                nextval('events.group_cuts_cut_seq'),
                (SELECT max(cut) FROM events.group_cuts WHERE log = this)
            )
        );
    END IF;
END;
$$;

-- Has a copy lose the rows of a table that have some hashes, and gain others. False when it did nothing.
CREATE FUNCTION events.receive_rows(
    of_tenant text, by_move bigint, of_table text, lost text[], gained text[]
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.received_log(of_tenant, by_move);
BEGIN
    IF this IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'DELETE FROM events.%I AS one WHERE log = $1 AND %s = ANY ($2)',
        of_table, events.row_hash_of(of_table)
    ) USING this, lost;
    PERFORM events.put_rows(this, of_table, gained);
    RETURN true;
END;
$$;

-- Puts records down behind a position, and the streams that begin with them. False when it did nothing.
CREATE FUNCTION events.receive_records(
    of_tenant text, by_move bigint, behind bigint, new_streams text[], new_records text[]
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.received_log(of_tenant, by_move);
BEGIN
    IF this IS NULL OR events.head_of(this) <> behind THEN
        RETURN false;
    END IF;
    PERFORM events.put_rows(this, 'streams', new_streams);
    PERFORM events.put_rows(this, 'records', new_records);
    RETURN true;
END;
$$;

-- How many records lie behind a position up to another, and one digest of all that they are.
CREATE FUNCTION events.carried_digest(of_tenant text, behind bigint, upto bigint)
RETURNS TABLE (record_count bigint, digest bytea)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    RETURN QUERY
    SELECT count(*), sha256(coalesce(string_agg(one.digest, '' ORDER BY one.position), ''))
    FROM (
        SELECT
            position,
            sha256(
                convert_to(
                    jsonb_build_array(
                        position, stream, revision, recorded_at, event_id, type, correlation_id,
                        records.digest, tags, payload_digest, octet_length(header)
                    )::text,
                    'UTF8'
                ) || header || coalesce(payload, '')
            ) AS digest
        FROM events.records
        WHERE log = this AND position > behind AND position <= upto
    ) AS one;
END;
$$;

-- Has the log of a tenant be copied to another place from here on, or stay; false when it is not here,
-- and when it leaves already for a third place.
CREATE FUNCTION events.ask_move(of_tenant text, to_place text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM events.take_turn(of_tenant);
    UPDATE events.logs
    -- Another number: who moves it already has to begin anew.
    SET moving_to = to_place, move = move + 1, mover_until = '-infinity'
    WHERE tenant = of_tenant
      AND moved_to IS NULL
      AND moving_to IS DISTINCT FROM to_place
      AND (to_place IS NULL OR moving_to IS NULL);
    RETURN EXISTS (
        SELECT FROM events.logs WHERE tenant = of_tenant AND moving_to IS NOT DISTINCT FROM to_place
    );
END;
$$;

-- Has a mover have a log to itself for a while, under a number that is higher than all before; no row
-- when another one has it, or there is nothing to move. The keeper is not in the middle of anything.
CREATE FUNCTION events.claim_move(of_tenant text, lease_s double precision)
RETURNS TABLE (move bigint, moving_to text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    PERFORM pg_advisory_xact_lock(
        'events.kept_logs'::regclass::oid::integer,
        ((SELECT log FROM events.logs WHERE tenant = of_tenant) % 2147483648)::integer
    );
    RETURN QUERY
    UPDATE events.logs AS own
    SET move = own.move + 1, mover_until = clock_timestamp() + make_interval(secs => lease_s)
    WHERE own.tenant = of_tenant
      AND own.moved_to IS NULL
      AND own.moving_to IS NOT NULL
      AND own.mover_until < clock_timestamp()
    RETURNING own.move, own.moving_to;
END;
$$;

-- Has a place receive a log: whatever is there of it is a copy from now on, by this move. False when
-- the log is there, or comes by a later move.
CREATE FUNCTION events.begin_receiving(of_tenant text, from_place text, by_move bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    INSERT INTO events.logs AS own (tenant, moved_to, move, holds_copy, is_awaited)
    VALUES (of_tenant, from_place, by_move, true, true)
    ON CONFLICT (tenant) DO UPDATE
    SET moved_to = from_place, move = by_move, holds_copy = true, is_awaited = true
    WHERE own.moved_to IS NOT NULL AND own.move < by_move
    RETURNING log INTO this;
    -- Counts are made anew.
    DELETE FROM events.tallied WHERE log = this;
    DELETE FROM events.tallies WHERE log = this;
    RETURN this IS NOT NULL;
END;
$$;

-- Takes the log of a tenant for a mover that is about to have it leave: nobody appends to it, and nobody
-- changes what belongs to it, until the transaction ends. False when the move is not this one any more.
CREATE FUNCTION events.hold(of_tenant text, by_move bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    PERFORM pg_advisory_xact_lock('events.logs'::regclass::oid::integer, (this % 2147483648)::integer);
    PERFORM pg_advisory_xact_lock('events.logs_here'::regclass::oid::integer, (this % 2147483648)::integer);
    RETURN EXISTS (
        SELECT FROM events.logs
        WHERE log = this AND move = by_move AND moving_to IS NOT NULL AND moved_to IS NULL
    );
END;
$$;

-- Has a log be at another place, in the transaction that holds it. False when it did nothing.
CREATE FUNCTION events.leave(of_tenant text, by_move bigint, to_place text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE events.logs
    SET moved_to = to_place, moving_to = NULL, moved_at = now(), holds_copy = true,
        mover_until = '-infinity'
    WHERE tenant = of_tenant AND move = by_move AND moving_to = to_place AND moved_to IS NULL;
    RETURN FOUND;
END;
$$;

-- Has a log be here that left for here by a move, in the incarnation that it was in; false when it did
-- nothing. Whoever saw that the log left by this move may call it, and so may several.
CREATE FUNCTION events.arrive(of_tenant text, by_move bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint := events.received_log(of_tenant, by_move);
    newest events.incarnations;
BEGIN
    IF this IS NULL THEN
        RETURN false;
    END IF;
    SELECT * INTO newest FROM events.incarnations WHERE log = this ORDER BY number DESC LIMIT 1;
    IF FOUND THEN
        DELETE FROM events.incarnations WHERE log = this AND number = newest.number;
        newest.place := events.place();
        INSERT INTO events.incarnations SELECT newest.*;
    END IF;
    UPDATE events.logs
    SET moved_to = NULL, moved_at = now(), holds_copy = false, is_awaited = false
    WHERE log = this;
    RETURN true;
END;
$$;

-- Has a place where a log is not say where it is since a move.
CREATE FUNCTION events.point(of_tenant text, to_place text, since_move bigint) RETURNS void
LANGUAGE sql AS $$
    UPDATE events.logs
    SET moved_to = to_place, move = since_move
    WHERE tenant = of_tenant AND moved_to IS NOT NULL AND move < since_move;
$$;

-- Deletes some of the rows of a copy that is of no use, the last records first: so what is left is as
-- it was copied. Whoever calls it has seen that the log does not come to here by that move. True once nothing is left, and when the copy is of use again.
CREATE FUNCTION events.discard(of_tenant text, of_move bigint, row_count bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    of_table text;
    deleted_count bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    -- From here on it cannot arrive.
    UPDATE events.logs SET is_awaited = false
    WHERE tenant = of_tenant AND moved_to IS NOT NULL AND holds_copy AND move = of_move
    RETURNING log INTO this;
    IF this IS NULL THEN
        RETURN true;
    END IF;
    DELETE FROM events.records
    WHERE log = this
      AND position > (
          SELECT coalesce(min(last.position), 1) - 1
          FROM (
              SELECT position FROM events.records WHERE log = this ORDER BY position DESC LIMIT row_count
          ) AS last
      );
    GET DIAGNOSTICS deleted_count = ROW_COUNT;
    IF deleted_count > 0 THEN
        RETURN false;
    END IF;
    FOREACH of_table IN ARRAY ARRAY[
        'groups', 'snapshots', 'redactions', 'stream_rules', 'kept_logs', 'restored', 'incarnations',
        'labels', 'unlabelled', 'streams', 'tallies', 'tallied'
    ] LOOP
        EXECUTE format(
            'DELETE FROM events.%1$I WHERE ctid = ANY (ARRAY('
            'SELECT ctid FROM events.%1$I WHERE log = $1 LIMIT $2))',
            of_table
        ) USING this, row_count;
        GET DIAGNOSTICS deleted_count = ROW_COUNT;
        IF deleted_count > 0 THEN
            RETURN false;
        END IF;
    END LOOP;
    UPDATE events.logs SET holds_copy = false WHERE log = this;
    RETURN true;
END;
$$;

GRANT USAGE, UPDATE ON SEQUENCE events.group_cuts_cut_seq TO girih_events_mover;
REVOKE EXECUTE ON FUNCTION
    events.row_hash_of, events.carried_hashes, events.carried_rows, events.received_log, events.put_rows,
    events.receive_rows, events.receive_records, events.carried_digest, events.ask_move,
    events.claim_move, events.begin_receiving, events.hold, events.leave, events.arrive, events.point,
    events.discard
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    events.row_hash_of, events.carried_hashes, events.carried_rows, events.received_log, events.put_rows,
    events.receive_rows, events.receive_records, events.carried_digest, events.ask_move,
    events.claim_move, events.begin_receiving, events.hold, events.leave, events.arrive, events.point,
    events.discard, events.refuse_elsewhere, events.take_turn, events.head_of, events.place,
    events.label_records, events.label_new_records, events.forget_snapshots_of_redacted
TO girih_events_mover;
