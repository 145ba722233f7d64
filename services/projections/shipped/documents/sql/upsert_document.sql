-- Writes a document as it stands, whether it was there or not.
--
--   $1 tenant               text
--   $2 generation           bigint
--   $3 document             text
--   $4 name                 text
--   $5 media_type           text
--   $6 byte_count           bigint
--   $7 sha256               text
--   $8 uploaded_by          text
--   $9 formats              text[]
--   $10 page_count          bigint
--   $11 analyser            text
--   $12 analysis_version    bigint
--   $13 seen_element_count  bigint
--   $14 feedback_count      bigint
--   $15 rating_sum          bigint
--   $16 policies            text[]
--   $17 finding_count       bigint
--   $18 breach_count        bigint
--   $19 status              text
--   $20 uploaded_position   bigint
--   $21 last_position       bigint
--   $22 created_at          timestamptz
--   $23 updated_at          timestamptz
INSERT INTO projection_documents.documents (
    tenant, generation, document, name, media_type, byte_count, sha256, uploaded_by, formats, page_count,
    analyser, analysis_version, seen_element_count, feedback_count, rating_sum, policies, finding_count,
    breach_count, status, uploaded_position, last_position, created_at, updated_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23
)
ON CONFLICT (tenant, generation, document) DO UPDATE
SET
    name = excluded.name,
    media_type = excluded.media_type,
    byte_count = excluded.byte_count,
    sha256 = excluded.sha256,
    uploaded_by = excluded.uploaded_by,
    formats = excluded.formats,
    page_count = excluded.page_count,
    analyser = excluded.analyser,
    analysis_version = excluded.analysis_version,
    seen_element_count = excluded.seen_element_count,
    feedback_count = excluded.feedback_count,
    rating_sum = excluded.rating_sum,
    policies = excluded.policies,
    finding_count = excluded.finding_count,
    breach_count = excluded.breach_count,
    status = excluded.status,
    uploaded_position = excluded.uploaded_position,
    last_position = excluded.last_position,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at;
