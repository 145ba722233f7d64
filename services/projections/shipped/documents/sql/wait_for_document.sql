-- Has an element wait for its document, in place of another of its id.
--
--   $1 tenant           text
--   $2 generation       bigint
--   $3 document         text
--   $4 id               text
--   $5 ir_type          text
--   $6 name             text
--   $7 expression       text
--   $8 variables        text[]
--   $9 definition       text
--   $10 term            text
--   $11 context         text
--   $12 table_data      jsonb  NULL where it is no table
--   $13 row_count       bigint
--   $14 column_count    bigint
--   $15 target          text
--   $16 reference_type  text
--   $17 location        jsonb  NULL where it is not known
--   $18 metadata        jsonb
--   $19 position        bigint
--   $20 created_at      timestamptz
INSERT INTO projection_documents.waiting_elements (
    tenant, generation, document, id, ir_type, name, expression, variables, definition, term, context,
    table_data, row_count, column_count, target, reference_type, location, metadata, position, created_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20
)
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
