-- Forgets a document, and with it its elements, those that wait for it too.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 document    text
WITH waiting AS (
    DELETE FROM projection_documents.waiting_elements
    WHERE tenant = $1 AND generation = $2 AND document = $3
)
DELETE FROM projection_documents.documents
WHERE tenant = $1 AND generation = $2 AND document = $3;
