-- A group has come as far as what it holds, too: an event that is wanted from now on, and lies before one
-- of its key that is held, would come after it.
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

    DELETE FROM events.group_lanes WHERE log = this AND name = of_name;
    INSERT INTO events.group_lanes (log, name, lane, token, checkpoint, incarnation)
    SELECT this, of_name, one.lane, newest, begins, read_in
    FROM generate_series(0, lanes - 1) AS one (lane);
END;
$$;
