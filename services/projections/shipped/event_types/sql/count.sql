-- Counts events.
--
--   $1 tenant          text
--   $2 generation      bigint
--   $3 types           text[]
--   $4 counts          bigint[]
--   $5 last_positions  bigint[]
INSERT INTO projection_event_types.counts (tenant, generation, type, event_count, last_position)
SELECT $1, $2, new.type, new.event_count, new.last_position
FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS new (type, event_count, last_position)
ON CONFLICT (tenant, generation, type) DO UPDATE
SET event_count = counts.event_count + excluded.event_count, last_position = excluded.last_position;
