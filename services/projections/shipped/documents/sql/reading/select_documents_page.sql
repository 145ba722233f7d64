-- A page of documents as readers see them, by id. Ends before the first with which it has too many bytes, but
-- has one at least; `total_count` tells how many there are without that, $6 at most.
--
-- Policies are looked through: row-level security lets no index look for them, since what compares arrays
-- could tell of rows of others.
--
--   $1 tenant          text
--   $2 behind          text    an id; empty for none
--   $3 status          text    empty for all
--   $4 uploaded_by     text    empty for all
--   $5 policy          text    empty for all
--   $6 row_count_max   bigint
--   $7 page_bytes_max  bigint
SELECT
    document, name, media_type, byte_count, sha256, uploaded_by, formats, page_count, analyser, analysis_version,
    seen_element_count, feedback_count, rating_sum, policies, finding_count, breach_count, status, last_position,
    created_at, updated_at, total_count
FROM (
    SELECT
        matching.*,
        count(*) OVER () AS total_count,
        row_number() OVER so_far AS number,
        sum(octet_length(matching::text)) OVER so_far AS byte_sum
    FROM (
        SELECT *
        FROM projection_documents.document_views
        WHERE tenant = $1
          AND document > $2
          AND ($3 = '' OR status = $3)
          AND ($4 = '' OR uploaded_by = $4)
          AND ($5 = '' OR policies @> ARRAY[$5])
        ORDER BY document
        LIMIT $6
    ) AS matching
    WINDOW so_far AS (ORDER BY document)
) AS page
WHERE number = 1 OR byte_sum <= $7
ORDER BY document;
