-- A page of elements as readers see them, by document and id. Ends before the first with which it has too many
-- bytes, but has one at least; `total_count` tells how many there are without that, $7 at most.
--
--   $1 tenant           text
--   $2 behind_document  text    empty for none
--   $3 behind_id        text
--   $4 document         text    empty for all
--   $5 ir_type          text    empty for all
--   $6 name             text    empty for all
--   $7 row_count_max    bigint
--   $8 page_bytes_max   bigint
SELECT
    document, id, ir_type, name, expression, variables, definition, term, context, table_data, row_count,
    column_count, target, reference_type, location, metadata, created_at, total_count
FROM (
    SELECT
        matching.*,
        count(*) OVER () AS total_count,
        row_number() OVER so_far AS number,
        sum(octet_length(matching::text)) OVER so_far AS byte_sum
    FROM (
        SELECT *
        FROM projection_documents.semantic_ir
        WHERE tenant = $1
          AND (document, id) > ($2, $3)
          AND ($4 = '' OR document = $4)
          AND ($5 = '' OR ir_type = $5)
          AND ($6 = '' OR name = $6)
        ORDER BY document, id
        LIMIT $7
    ) AS matching
    WINDOW so_far AS (ORDER BY document, id)
) AS page
WHERE number = 1 OR byte_sum <= $8
ORDER BY document, id;
