-- Where to look for events by type, tag, category and correlation id.
--
-- A log is looked at in blocks of 64 positions, and `labels` tells which blocks hold an event
-- with a label. Whoever looks for one reads the blocks that have it and looks at their records.
-- So a label takes a row in a block however many events there have it: types and categories,
-- which few events make rare, take next to nothing, where an index on each would take 40 bytes an
-- event. What is rare costs what a row of such an index would, and to find it 64 records more.
--
-- Labels are written by whatever inserts records, an earlier version of girih included, since a
-- trigger does it. What was stored before is labelled bit by bit, the newest first, while appends
-- go on: `unlabelled` tells up to where it is not yet, and there every block is looked at.

-- Else the owner, who is behind the wall as well, would see no log and no record.
ALTER TABLE events.logs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records NO FORCE ROW LEVEL SECURITY;

CREATE TABLE events.labels (
    log   bigint NOT NULL,
    block bigint NOT NULL CHECK (block >= 0), -- positions from 64 * block + 1 to 64 * block + 64
    -- `=` and a type, `#` and a tag, `/` and a category, or `@` and a correlation id.
    label text   COLLATE "C" NOT NULL,

    -- Without it a label would stand there once for each event, and a scan come in no order.
    CONSTRAINT labels_block PRIMARY KEY (log, label, block)
);

-- The lowest `through` of a log says that what lies behind it is labelled. A log without a row is
-- labelled as a whole.
CREATE TABLE events.unlabelled (
    log     bigint NOT NULL,
    through bigint NOT NULL CHECK (through >= 0),

    CONSTRAINT unlabelled_through PRIMARY KEY (log, through)
);

ALTER TABLE events.labels ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events.unlabelled ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY labels_of_tenant ON events.labels TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
CREATE POLICY unlabelled_of_tenant ON events.unlabelled TO girih_events
USING (
    log = (SELECT log FROM events.logs WHERE tenant = nullif(current_setting('girih.tenant', true), ''))
);
GRANT SELECT, INSERT ON events.labels, events.unlabelled TO girih_events;

-- Labels the records of a log behind a position, up to another.
CREATE FUNCTION events.label_records(this bigint, behind bigint, upto bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events.labels (log, label, block)
    SELECT DISTINCT this, '=' || right(type, 24), (position - 1) / 64
    FROM events.records
    WHERE log = this AND position > behind AND position <= upto
    UNION ALL
    SELECT DISTINCT this, '@' || right(correlation_id, 12), (position - 1) / 64
    FROM events.records
    WHERE log = this AND position > behind AND position <= upto
    UNION ALL
    SELECT DISTINCT this, '#' || right(tag, 24), (position - 1) / 64
    FROM events.records
    CROSS JOIN unnest(tags) AS tag
    WHERE log = this AND position > behind AND position <= upto AND tags IS NOT NULL
    UNION ALL
    SELECT DISTINCT this, '/' || split_part(named.name, '-', 1), placed.block
    FROM (
        SELECT DISTINCT stream, (position - 1) / 64 AS block
        FROM events.records
        WHERE log = this AND position > behind AND position <= upto
    ) AS placed
    CROSS JOIN LATERAL (
        SELECT name
        FROM events.streams
        -- Said as a range and in order, so that no plan looks through all names for the number.
        WHERE log = this AND stream >= placed.stream AND stream <= placed.stream
        ORDER BY stream
        LIMIT 1
    ) AS named
    ON CONFLICT DO NOTHING;
END;
$$;

CREATE FUNCTION events.label_new_records() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM events.label_records(log, min(position) - 1, max(position))
    FROM new_records
    GROUP BY log;
    RETURN NULL;
END;
$$;

-- From here on nobody inserts until this is committed: the heads below are those up to which
-- there are no labels.
CREATE TRIGGER records_have_labels
AFTER INSERT ON events.records
REFERENCING NEW TABLE AS new_records
FOR EACH STATEMENT EXECUTE FUNCTION events.label_new_records();

INSERT INTO events.unlabelled (log, through)
SELECT logs.log, newest.position
FROM events.logs
CROSS JOIN LATERAL (
    SELECT position
    FROM events.records
    WHERE records.log = logs.log
    ORDER BY position DESC
    LIMIT 1
) AS newest;

ALTER TABLE events.logs FORCE ROW LEVEL SECURITY;
ALTER TABLE events.records FORCE ROW LEVEL SECURITY;

-- Labels the next so many records that are not, and answers up to where they are not now. Of
-- several who do so at the same time all but one do it in vain.
CREATE FUNCTION events.fill_labels(of_tenant text, record_count bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    this   bigint;
    upto   bigint;
    behind bigint;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT log INTO this FROM events.logs WHERE tenant = of_tenant;
    SELECT through INTO upto FROM events.unlabelled WHERE log = this ORDER BY through LIMIT 1;
    IF coalesce(upto, 0) = 0 THEN
        RETURN 0;
    END IF;

    behind := greatest(0, upto - record_count);
    PERFORM events.label_records(this, behind, upto);
    INSERT INTO events.unlabelled (log, through) VALUES (this, behind) ON CONFLICT DO NOTHING;

    RETURN behind;
END;
$$;

-- Which events are meant: those that meet every part that is not empty.
CREATE TYPE events.query AS (
    types          text[],
    tags           text[],
    stream_prefix  text,
    category       text,
    correlation_id text
);

-- Where events are, in the order of reading, and up to where it was looked for them.
CREATE TYPE events.found AS (
    positions bigint[],
    looked_at bigint
);

-- The block nearest to `at`, itself or one further on, that has all of some labels and, of each of
-- the other lists, one; NULL when there is none. What is not labelled counts as having them.
--
-- It leaps from label to label until all agree, so it takes as many steps as the rarest has rows.
-- When it has no more time it answers how far it came: a block that need not have them.
CREATE FUNCTION events.labelled_block(
    this             bigint,
    at               bigint,
    is_backwards     boolean,
    unlabelled_block bigint, -- the highest one that is not labelled, -1 without any
    all_of           text[],
    one_of           text[], -- empty when any will do, as in the next
    one_of_others    text[],
    until            timestamptz
) RETURNS bigint
STABLE LANGUAGE plpgsql AS $$
DECLARE
    nearest bigint := at;
    before  bigint;
    one     text;
BEGIN
    LOOP
        IF nearest <= unlabelled_block THEN
            RETURN nearest;
        END IF;
        before := nearest;
        FOREACH one IN ARRAY all_of LOOP
            IF is_backwards THEN
                nearest := greatest(unlabelled_block, (
                    SELECT labels.block
                    FROM events.labels
                    WHERE log = this AND label = one AND labels.block <= nearest
                    ORDER BY labels.block DESC
                    LIMIT 1
                ));
            ELSE
                nearest := (
                    SELECT labels.block
                    FROM events.labels
                    WHERE log = this AND label = one AND labels.block >= nearest
                    ORDER BY labels.block
                    LIMIT 1
                );
            END IF;
            IF nearest IS NULL OR nearest < 0 THEN
                RETURN NULL;
            END IF;
        END LOOP;
        IF cardinality(one_of) > 0 THEN
            nearest := events.block_of_one(this, nearest, is_backwards, unlabelled_block, one_of);
        END IF;
        IF cardinality(one_of_others) > 0 AND nearest >= 0 THEN
            nearest := events.block_of_one(this, nearest, is_backwards, unlabelled_block, one_of_others);
        END IF;
        IF nearest IS NULL OR nearest < 0 THEN
            RETURN NULL;
        END IF;
        EXIT WHEN nearest = before OR clock_timestamp() > until;
    END LOOP;
    RETURN nearest;
END;
$$;

-- The same for one list of labels.
CREATE FUNCTION events.block_of_one(
    this bigint, at bigint, is_backwards boolean, unlabelled_block bigint, one_of text[]
) RETURNS bigint
STABLE LANGUAGE plpgsql AS $$
BEGIN
    IF is_backwards THEN
        RETURN greatest(unlabelled_block, (
            SELECT max(nearest.block)
            FROM unnest(one_of) AS wanted (label)
            CROSS JOIN LATERAL (
                SELECT labels.block
                FROM events.labels
                WHERE log = this AND labels.label = wanted.label AND labels.block <= at
                ORDER BY labels.block DESC
                LIMIT 1
            ) AS nearest
        ));
    END IF;
    RETURN (
        SELECT min(nearest.block)
        FROM unnest(one_of) AS wanted (label)
        CROSS JOIN LATERAL (
            SELECT labels.block
            FROM events.labels
            WHERE log = this AND labels.label = wanted.label AND labels.block >= at
            ORDER BY labels.block
            LIMIT 1
        ) AS nearest
    );
END;
$$;

-- The categories of streams whose names begin with a prefix, 65 at most: leaps from one to the next.
-- No character of a name lies between `-`, with which the rest of a name begins, and `.`.
CREATE FUNCTION events.categories(this bigint, prefix text) RETURNS text[]
STABLE LANGUAGE plpgsql AS $$
DECLARE
    result   text[] := '{}';
    category text;
    behind   text := prefix;
BEGIN
    LOOP
        category := (
            SELECT split_part(name, '-', 1)
            FROM events.streams
            WHERE log = this AND name >= behind AND name < prefix || chr(127)
            ORDER BY name
            LIMIT 1
        );
        EXIT WHEN category IS NULL OR cardinality(result) > 64;
        result := result || category;
        behind := category || '.';
    END LOOP;
    RETURN result;
END;
$$;

-- How many records of a stream lie before a position: see select_revision_at.sql.
CREATE FUNCTION events.revision_at(this bigint, of_stream bigint, at bigint) RETURNS bigint
STABLE LANGUAGE plpgsql AS $$
DECLARE
    low    bigint := 0;
    high   bigint;
    middle bigint;
BEGIN
    SELECT revision + 1, CASE WHEN position < at THEN revision + 1 ELSE 0 END
    INTO high, low
    FROM events.records
    WHERE log = this AND stream = of_stream
    ORDER BY revision DESC
    LIMIT 1;

    WHILE low < high LOOP
        middle := (low + high) / 2;
        IF (SELECT position < at FROM events.records WHERE log = this AND stream = of_stream AND revision = middle)
        THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END;
$$;

-- The blocks from `start` on that hold records of some streams, and the position up to which they
-- are all: of many records only the first are looked at. In the order of reading.
CREATE FUNCTION events.blocks_of_streams(
    this bigint, of_streams bigint[], start bigint, bound bigint, is_backwards boolean
) RETURNS events.found
STABLE LANGUAGE plpgsql AS $$
DECLARE
    result    events.found := ('{}', bound);
    of_stream bigint; -- its number, which is the position of its first record
    first     bigint;
    positions bigint[];
BEGIN
    FOREACH of_stream IN ARRAY of_streams LOOP
        IF is_backwards THEN
            CONTINUE WHEN of_stream > start;
            first := events.revision_at(this, of_stream, start + 1) - 1;
            positions := ARRAY(
                SELECT position
                FROM events.records
                WHERE log = this AND stream = of_stream AND revision <= first
                ORDER BY revision DESC
                LIMIT 100
            );
            IF cardinality(positions) = 100 THEN
                result.looked_at := greatest(result.looked_at, positions[100]);
            END IF;
        ELSE
            EXIT WHEN of_stream > result.looked_at;
            IF of_stream > start AND cardinality(result.positions) > 2000 THEN
                -- Enough: this one and those behind it begin here.
                result.looked_at := of_stream - 1;
                EXIT;
            END IF;
            first := CASE WHEN of_stream < start THEN events.revision_at(this, of_stream, start) ELSE 0 END;
            positions := ARRAY(
                SELECT position
                FROM events.records
                WHERE log = this AND stream = of_stream AND revision >= first
                ORDER BY revision
                LIMIT 500
            );
            IF cardinality(positions) = 500 THEN
                result.looked_at := least(result.looked_at, positions[500]);
            END IF;
        END IF;
        result.positions := result.positions || positions;
    END LOOP;
    result.positions := CASE
        WHEN is_backwards THEN ARRAY(
            SELECT DISTINCT (position - 1) / 64 AS block
            FROM unnest(result.positions) AS position
            ORDER BY block DESC
        )
        ELSE ARRAY(
            SELECT DISTINCT (position - 1) / 64 AS block
            FROM unnest(result.positions) AS position
            ORDER BY block
        )
    END;
    RETURN result;
END;
$$;

-- The events from `start` up to `bound` that a query means, at most `row_count_max` of them. Looks
-- at no more than some 10,000 records, and not much longer than `until`.
CREATE FUNCTION events.find_of_query(
    this          bigint,
    asked         events.query,
    start         bigint,
    bound         bigint,
    is_backwards  boolean,
    unlabelled    bigint, -- the position up to which records have no labels
    row_count_max bigint,
    until         timestamptz
) RETURNS events.found
STABLE LANGUAGE plpgsql AS $$
DECLARE
    names            boolean := asked.stream_prefix <> '' OR asked.category <> '';
    unlabelled_block bigint := (unlabelled + 63) / 64 - 1;
    all_of           text[] := ARRAY(SELECT '#' || right(tag, 24) FROM unnest(asked.tags) AS tag);
    one_of           text[] := ARRAY(SELECT '=' || right(type, 24) FROM unnest(asked.types) AS type);
    categories       text[] := '{}';
    streams          bigint[];
    of_streams       events.found;
    next_of_streams  bigint := 1;
    block            bigint := (start - 1) / 64;
    wanted           bigint;
    last_block       bigint;
    step             bigint := CASE WHEN is_backwards THEN -1 ELSE 1 END;
    looked_count     bigint := 0;
    next_block       bigint; -- behind what was looked at last
    span             bigint := 1;
    low              bigint;
    high             bigint;
    result           events.found := ('{}', bound);
BEGIN
    IF asked.correlation_id <> '' THEN
        all_of := all_of || ('@' || right(asked.correlation_id, 12));
    END IF;
    IF asked.category <> '' THEN
        all_of := all_of || ('/' || asked.category);
    END IF;
    IF asked.stream_prefix <> '' THEN
        streams := ARRAY(
            SELECT stream
            FROM (
                SELECT stream
                FROM events.streams
                WHERE log = this
                  AND name >= asked.stream_prefix
                  AND name < asked.stream_prefix || chr(127)
                ORDER BY name
                LIMIT 129
            ) AS begins_so
            ORDER BY stream
        );
        IF cardinality(streams) = 0 THEN
            RETURN result;
        ELSIF cardinality(streams) <= 128 THEN
            of_streams := events.blocks_of_streams(this, streams, start, bound, is_backwards);
            bound := of_streams.looked_at;
            result.looked_at := bound;
        ELSIF strpos(asked.stream_prefix, '-') > 0 THEN
            all_of := all_of || ('/' || split_part(asked.stream_prefix, '-', 1));
        ELSE
            categories := events.categories(this, asked.stream_prefix);
            IF cardinality(categories) > 64 THEN
                categories := '{}';
            END IF;
            categories := ARRAY(SELECT '/' || category FROM unnest(categories) AS category);
        END IF;
    END IF;
    last_block := (bound - 1) / 64;

    LOOP
        -- The next block that labels and streams agree on.
        LOOP
            wanted := events.labelled_block(
                this, block, is_backwards, unlabelled_block, all_of, one_of, categories, until
            );
            IF wanted IS NULL OR (last_block - wanted) * step < 0 THEN
                RETURN result;
            END IF;
            block := wanted;
            EXIT WHEN of_streams IS NULL;
            WHILE (of_streams.positions[next_of_streams] - block) * step < 0 LOOP
                next_of_streams := next_of_streams + 1;
            END LOOP;
            block := of_streams.positions[next_of_streams];
            IF block IS NULL OR (last_block - block) * step < 0 THEN
                RETURN result;
            END IF;
            EXIT WHEN block = wanted OR clock_timestamp() > until;
        END LOOP;

        -- Where block stands by block, several are looked at at once.
        span := CASE WHEN block = next_block THEN least(16, 2 * span) ELSE 1 END;
        next_block := block + step * span;
        low := greatest(64 * least(block, next_block + 1) + 1, least(start, bound));
        high := least(64 * greatest(block + 1, next_block), greatest(start, bound));
        result.positions := result.positions || ARRAY(
            SELECT position
            FROM events.records
            WHERE log = this AND position >= low AND position <= high
              AND (cardinality(asked.types) = 0 OR type = ANY (asked.types))
              AND (cardinality(asked.tags) = 0 OR tags @> asked.tags)
              AND (asked.correlation_id = '' OR correlation_id = asked.correlation_id)
              AND (
                  NOT names
                  OR (
                      SELECT
                          starts_with(name, asked.stream_prefix)
                          AND asked.category IN ('', split_part(name, '-', 1))
                      FROM events.streams
                      WHERE streams.log = this
                        AND streams.stream >= records.stream
                        AND streams.stream <= records.stream
                      ORDER BY streams.stream
                      LIMIT 1
                  )
              )
            ORDER BY position * step
        );
        looked_count := looked_count + high - low + 1;
        IF cardinality(result.positions) >= row_count_max THEN
            result.positions := result.positions[1:row_count_max];
            result.looked_at := result.positions[row_count_max];
            RETURN result;
        END IF;
        IF looked_count > 8900 OR clock_timestamp() > until THEN
            result.looked_at := CASE WHEN is_backwards THEN low ELSE high END;
            RETURN result;
        END IF;
        block := next_block;
        IF (last_block - block) * step < 0 THEN
            RETURN result;
        END IF;
    END LOOP;
END;
$$;

-- The events of a log that one of some queries means, from a position on: at most so many, in the
-- order of reading. Nothing lies before `looked_at` but they; when that is the end, nothing lies
-- behind it. `unlabelled` is the position up to which the log has no labels yet. No row when there
-- is no such log.
--
-- One query after the other, each as far as those before it came: so all came as far as the last.
-- What it costs is bounded, also where nothing is found: the next page goes on behind `looked_at`.
CREATE FUNCTION events.find(
    of_tenant     text,
    queries       events.query[],
    start         bigint, -- may lie beyond the end
    is_backwards  boolean,
    row_count_max bigint,
    OUT log       bigint,
    OUT positions bigint[],
    OUT looked_at bigint,
    OUT is_end    boolean,
    OUT unlabelled bigint
) RETURNS SETOF record
STABLE ROWS 1
-- What it asks is asked a hundred times a page, and always best answered from the index that is
-- made for it: to plan each time would take three times as long as the answer.
SET plan_cache_mode = force_generic_plan
LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + interval '0.2 s';
    head  bigint;
    last  bigint;
    asked events.query;
    looked events.found;
BEGIN
    PERFORM set_config('girih.tenant', of_tenant, true);
    SELECT logs.log INTO log FROM events.logs WHERE tenant = of_tenant;
    IF log IS NULL THEN
        RETURN;
    END IF;
    head := events.head_of(log);
    unlabelled := coalesce(
        (
            SELECT through
            FROM events.unlabelled
            WHERE unlabelled.log = find.log
            ORDER BY through
            LIMIT 1
        ),
        0
    );
    IF is_backwards THEN
        start := least(start, head);
    END IF;
    last := CASE WHEN is_backwards THEN 1 ELSE head END;
    positions := '{}';
    looked_at := last;

    IF start >= 1 AND start <= head THEN
        FOREACH asked IN ARRAY queries LOOP
            looked := events.find_of_query(
                log, asked, start, looked_at, is_backwards, unlabelled, row_count_max, until
            );
            positions := positions || looked.positions;
            looked_at := looked.looked_at;
        END LOOP;
        IF cardinality(queries) > 1 THEN
            positions := ARRAY(
                SELECT DISTINCT position * CASE WHEN is_backwards THEN -1 ELSE 1 END AS place
                FROM unnest(positions) AS position
                WHERE CASE WHEN is_backwards THEN position >= looked_at ELSE position <= looked_at END
                ORDER BY place
                LIMIT row_count_max
            );
            positions := ARRAY(SELECT abs(place) FROM unnest(positions) AS place);
            IF cardinality(positions) = row_count_max THEN
                looked_at := positions[row_count_max];
            END IF;
        END IF;
    END IF;
    is_end := looked_at = last OR start > head OR start < 1;
    RETURN NEXT;
END;
$$;

REVOKE EXECUTE ON FUNCTION
    events.label_records, events.label_new_records, events.fill_labels, events.labelled_block,
    events.block_of_one, events.categories, events.revision_at, events.blocks_of_streams,
    events.find_of_query, events.find
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    events.label_records, events.label_new_records, events.fill_labels, events.labelled_block,
    events.block_of_one, events.categories, events.revision_at, events.blocks_of_streams,
    events.find_of_query, events.find
TO girih_events;
