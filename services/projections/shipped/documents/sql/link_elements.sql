-- Gives the elements that waited to their documents, as far as those are there. A later element takes the
-- place of one of its id.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 documents   text[]
WITH waited AS (
    DELETE FROM projection_documents.waiting_elements AS waiting
    USING projection_documents.documents
    WHERE waiting.tenant = $1
      AND waiting.generation = $2
      AND waiting.document = ANY ($3::text[])
      AND documents.tenant = $1
      AND documents.generation = $2
      AND documents.document = waiting.document
    RETURNING waiting.*
)
INSERT INTO projection_documents.elements (
    tenant, generation, document, id, ir_type, name, expression, variables, definition, term, context,
    table_data, row_count, column_count, target, reference_type, location, metadata, position, created_at
)
SELECT
    tenant, generation, document, id, ir_type, name, expression, variables, definition, term, context,
    table_data, row_count, column_count, target, reference_type, location, metadata, position, created_at
FROM waited
ON CONFLICT (tenant, generation, document, id) DO UPDATE
SET
    ir_type = excluded.ir_type,
    name = excluded.name,
    expression = excluded.expression,
    variables = excluded.variables,
    definition = excluded.definition,
    term = excluded.term,
    context = excluded.context,
    table_data = excluded.table_data,
    row_count = excluded.row_count,
    column_count = excluded.column_count,
    target = excluded.target,
    reference_type = excluded.reference_type,
    location = excluded.location,
    metadata = excluded.metadata,
    position = excluded.position,
    created_at = excluded.created_at;
