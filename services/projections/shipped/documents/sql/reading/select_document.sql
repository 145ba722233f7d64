-- A document as readers see it; no row when it is not there.
--
--   $1 tenant    text
--   $2 document  text
SELECT
    document, name, media_type, byte_count, sha256, uploaded_by, formats, page_count, analyser, analysis_version,
    seen_element_count, feedback_count, rating_sum, policies, finding_count, breach_count, status, last_position,
    created_at, updated_at
FROM projection_documents.document_views
WHERE tenant = $1 AND document = $2;
