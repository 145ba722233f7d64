-- Forgets the elements of a document, those that wait for it too.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 document    text
--   $4 position    bigint  only the one of the event there; NULL for all
WITH waiting AS (
    DELETE FROM projection_documents.waiting_elements
    WHERE tenant = $1 AND generation = $2 AND document = $3 AND ($4::bigint IS NULL OR position = $4)
)
DELETE FROM projection_documents.elements
WHERE tenant = $1 AND generation = $2 AND document = $3 AND ($4::bigint IS NULL OR position = $4);
