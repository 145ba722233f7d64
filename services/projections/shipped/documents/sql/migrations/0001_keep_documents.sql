-- Documents as readers see them, and what extractors saw in them. See docs/documents.md.
CREATE TABLE projection_documents.documents (
    tenant              text        COLLATE "C" NOT NULL,
    generation          bigint      NOT NULL,
    document            text        COLLATE "C" NOT NULL,
    name                text        NOT NULL,
    media_type          text        COLLATE "C" NOT NULL,
    byte_count          bigint      NOT NULL,
    sha256              text        COLLATE "C" NOT NULL,
    uploaded_by         text        COLLATE "C" NOT NULL,
    formats             text[]      COLLATE "C" NOT NULL,
    page_count          bigint      NOT NULL,
    analyser            text        COLLATE "C" NOT NULL,
    analysis_version    bigint      NOT NULL,
    seen_element_count  bigint      NOT NULL,
    feedback_count      bigint      NOT NULL,
    rating_sum          bigint      NOT NULL,
    policies            text[]      COLLATE "C" NOT NULL,
    finding_count       bigint      NOT NULL,
    breach_count        bigint      NOT NULL,
    status              text        COLLATE "C" NOT NULL,
    uploaded_position   bigint      NOT NULL,
    last_position       bigint      NOT NULL,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,

    CONSTRAINT documents_document PRIMARY KEY (tenant, generation, document)
);

-- Lists of one status, uploader or policy are in the order of documents as well.
CREATE INDEX documents_status ON projection_documents.documents (tenant, generation, status, document);
CREATE INDEX documents_uploader ON projection_documents.documents (tenant, generation, uploaded_by, document);
CREATE INDEX documents_policies ON projection_documents.documents USING gin (policies);

CREATE TABLE projection_documents.elements (
    tenant         text        COLLATE "C" NOT NULL,
    generation     bigint      NOT NULL,
    document       text        COLLATE "C" NOT NULL,
    id             text        COLLATE "C" NOT NULL,
    ir_type        text        COLLATE "C" NOT NULL,
    name           text        COLLATE "C" NOT NULL,
    expression     text        NOT NULL,
    variables      text[]      NOT NULL,
    definition     text        NOT NULL,
    term           text        NOT NULL,
    context        text        NOT NULL,
    table_data     jsonb,
    row_count      bigint      NOT NULL,
    column_count   bigint      NOT NULL,
    target         text        NOT NULL,
    reference_type text        NOT NULL,
    location       jsonb,
    metadata       jsonb       NOT NULL,
    position       bigint      NOT NULL,
    created_at     timestamptz NOT NULL,

    CONSTRAINT elements_id PRIMARY KEY (tenant, generation, document, id),
    -- Gone with the document.
    CONSTRAINT elements_document FOREIGN KEY (tenant, generation, document)
    REFERENCES projection_documents.documents ON DELETE CASCADE
);

CREATE INDEX elements_type ON projection_documents.elements (tenant, generation, ir_type, document, id);
CREATE INDEX elements_name ON projection_documents.elements (tenant, generation, name, document, id);

-- Elements that came: each waits here until its document is there, which it mostly is at once.
CREATE TABLE projection_documents.waiting_elements (
    LIKE projection_documents.elements INCLUDING DEFAULTS,

    CONSTRAINT waiting_elements_id PRIMARY KEY (tenant, generation, document, id)
);

-- Documents that nobody is to see any more: nothing of them is kept, however late it comes.
CREATE TABLE projection_documents.withdrawn_documents (
    tenant     text   COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    document   text   COLLATE "C" NOT NULL,

    CONSTRAINT withdrawn_documents_document PRIMARY KEY (tenant, generation, document)
);

ALTER TABLE projection_documents.documents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projection_documents.elements ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projection_documents.waiting_elements ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projection_documents.withdrawn_documents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY documents_of_tenant ON projection_documents.documents TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY elements_of_tenant ON projection_documents.elements TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY waiting_elements_of_tenant ON projection_documents.waiting_elements TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY withdrawn_documents_of_tenant ON projection_documents.withdrawn_documents TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

-- What readers see.
CREATE VIEW projection_documents.document_views WITH (security_invoker = true) AS
SELECT
    tenant, document, name, media_type, byte_count, sha256, uploaded_by, formats, page_count, analyser,
    analysis_version, seen_element_count, feedback_count, rating_sum, policies, finding_count, breach_count,
    status, last_position, created_at, updated_at
FROM projection_documents.documents
WHERE generation = (SELECT projections.active_generation('documents'));

CREATE VIEW projection_documents.semantic_ir WITH (security_invoker = true) AS
SELECT
    tenant, document, id, ir_type, name, expression, variables, definition, term, context, table_data, row_count,
    column_count, target, reference_type, location, metadata, created_at
FROM projection_documents.elements
WHERE generation = (SELECT projections.active_generation('documents'));

GRANT USAGE ON SCHEMA projection_documents TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE
ON projection_documents.documents,
    projection_documents.elements,
    projection_documents.waiting_elements,
    projection_documents.withdrawn_documents
TO girih_projections;
GRANT SELECT ON projection_documents.document_views, projection_documents.semantic_ir TO girih_projections;
