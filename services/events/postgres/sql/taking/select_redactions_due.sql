-- Redacted records of the log whose payload is still there, as many as are rewritten at once.
--
--   $1 log        bigint
--   $2 limit      bigint
--   $3 bytes_max  bigint  of payloads together, but for the first
SELECT *
FROM (
    SELECT
        record.position,
        record.header,
        record.payload,
        3 AS reason,
        redaction.redacted_at AS at,
        redaction.redacted_by AS actor,
        redaction.by_position AS by_position,
        sum(octet_length(record.payload)) OVER due - octet_length(record.payload) AS bytes_before
    FROM events.redactions AS redaction
    JOIN events.records AS record USING (log, position)
    WHERE redaction.log = $1 AND NOT redaction.is_taken
    WINDOW due AS (ORDER BY redaction.position)
    ORDER BY redaction.position
    LIMIT $2
) AS redacted
WHERE coalesce(bytes_before, 0) <= $3;
