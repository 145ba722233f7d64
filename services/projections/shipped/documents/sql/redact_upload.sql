-- Forgets what the upload of a document said, and not that there is the document.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 document    text
--   $4 position    bigint  of the event that was redacted
UPDATE projection_documents.documents
SET name = '', media_type = '', byte_count = 0, sha256 = '', uploaded_by = ''
WHERE tenant = $1 AND generation = $2 AND document = $3 AND uploaded_position = $4;
