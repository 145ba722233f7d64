-- Keeps in mind that nothing of a document is to be kept.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 document    text
INSERT INTO projection_documents.withdrawn_documents (tenant, generation, document)
VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING;
