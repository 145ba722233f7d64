-- Where the events with these ids are; no row for an id that is not stored.
--
--   $1 tenant     text
--   $2 event_ids  uuid[]
SELECT event_id, position, revision, digest
FROM events.records
WHERE log = (SELECT log FROM events.logs WHERE tenant = $1)
  AND event_id = ANY ($2::uuid[]);
