-- Takes payloads away, and leaves headers that say so.
--
--   $1 log              bigint
--   $2 positions        bigint[]  one entry per record, as in all that follow
--   $3 headers          bytea[]
--   $4 payload_digests  bytea[]
UPDATE events.records
SET header = taken.header, payload = NULL, payload_digest = taken.payload_digest
FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS taken (position, header, payload_digest)
WHERE records.log = $1 AND records.position = taken.position AND records.payload IS NOT NULL;
