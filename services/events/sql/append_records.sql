-- Moves the head of a log and inserts the records between the old head and the new one,
-- or does nothing: then another process moved the head first, and what the records were
-- decided on is no longer so.
--
-- One statement, hence one transaction without a round trip inside it: the row lock that
-- the UPDATE takes is held until the commit and never while a client thinks. An append
-- that comes meanwhile waits for it, then sees the moved head and inserts nothing. So
-- positions become visible in their order, and a reader at position 7 has seen 6.
--
--   $1 tenant     text
--   $2 head       bigint    the position the records were decided on
--   $3 streams    text[]    one entry per record, as in all that follow
--   $4 revisions  bigint[]
--   $5 event_ids  uuid[]
--   $6 digests    bytea[]
--   $7 records    bytea[]
WITH moved AS (
    UPDATE events.logs
    SET head = head + cardinality($3::text[])
    WHERE tenant = $1 AND head = $2
    RETURNING log
)
INSERT INTO events.records (log, position, revision, event_id, stream, digest, record)
SELECT moved.log, $2 + new.ordinal, new.revision, new.event_id, new.stream, new.digest, new.record
FROM moved
CROSS JOIN unnest($3::text[], $4::bigint[], $5::uuid[], $6::bytea[], $7::bytea[])
    WITH ORDINALITY AS new (stream, revision, event_id, digest, record, ordinal);
