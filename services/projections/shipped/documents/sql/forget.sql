-- Deletes rows of a generation that nobody reads: elements first, as documents would take theirs along.
--
--   $1 tenant         text
--   $2 generation     bigint
--   $3 row_count_max  bigint
WITH elements AS (
    DELETE FROM projection_documents.elements
    WHERE (tenant, generation, document, id) IN (
        SELECT tenant, generation, document, id
        FROM projection_documents.elements
        WHERE tenant = $1 AND generation = $2
        LIMIT $3
    )
    RETURNING 1
),
waiting AS (
    DELETE FROM projection_documents.waiting_elements
    WHERE (tenant, generation, document, id) IN (
        SELECT tenant, generation, document, id
        FROM projection_documents.waiting_elements
        WHERE tenant = $1 AND generation = $2
        LIMIT $3
    )
    RETURNING 1
),
withdrawn AS (
    DELETE FROM projection_documents.withdrawn_documents
    WHERE (tenant, generation, document) IN (
        SELECT tenant, generation, document
        FROM projection_documents.withdrawn_documents
        WHERE tenant = $1 AND generation = $2
        LIMIT $3
    )
    RETURNING 1
),
documents AS (
    DELETE FROM projection_documents.documents
    WHERE (tenant, generation, document) IN (
        SELECT tenant, generation, document
        FROM projection_documents.documents
        WHERE tenant = $1
          AND generation = $2
          AND NOT EXISTS (
              SELECT
              FROM projection_documents.elements AS own
              WHERE own.tenant = $1 AND own.generation = $2 AND own.document = documents.document
          )
        LIMIT $3
    )
    RETURNING 1
)
SELECT count(*) AS row_count
FROM (TABLE elements UNION ALL TABLE waiting UNION ALL TABLE withdrawn UNION ALL TABLE documents) AS deleted;
