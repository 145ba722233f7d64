-- Documents as they stand, those that were withdrawn with nothing but that.
--
--   $1 tenant      text
--   $2 generation  bigint
--   $3 documents   text[]
SELECT
    asked.document, withdrawn_documents.document IS NOT NULL AS is_withdrawn,
    documents.name, media_type, byte_count, sha256, uploaded_by, formats, page_count, analyser, analysis_version,
    seen_element_count, feedback_count, rating_sum, policies, finding_count, breach_count, status, uploaded_position,
    last_position, created_at, updated_at
FROM unnest($3::text[]) AS asked (document)
LEFT JOIN projection_documents.documents
    ON documents.tenant = $1 AND documents.generation = $2 AND documents.document = asked.document
LEFT JOIN projection_documents.withdrawn_documents
    ON withdrawn_documents.tenant = $1
    AND withdrawn_documents.generation = $2
    AND withdrawn_documents.document = asked.document
WHERE documents.document IS NOT NULL OR withdrawn_documents.document IS NOT NULL;
