-- How many events of each type a log has had.
CREATE TABLE projection_event_types.counts (
    tenant        text   COLLATE "C" NOT NULL,
    generation    bigint NOT NULL,
    type          text   COLLATE "C" NOT NULL,
    event_count   bigint NOT NULL CHECK (event_count >= 1),
    last_position bigint NOT NULL CHECK (last_position >= 1),

    CONSTRAINT counts_type PRIMARY KEY (tenant, generation, type)
);

ALTER TABLE projection_event_types.counts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY counts_of_tenant ON projection_event_types.counts TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

-- What readers see.
CREATE VIEW projection_event_types.event_types WITH (security_invoker = true) AS
SELECT tenant, type, event_count, last_position
FROM projection_event_types.counts
WHERE generation = (SELECT projections.active_generation('event_types'));

GRANT USAGE ON SCHEMA projection_event_types TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_event_types.counts TO girih_projections;
GRANT SELECT ON projection_event_types.event_types TO girih_projections;
