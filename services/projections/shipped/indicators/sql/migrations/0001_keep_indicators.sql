-- What events come to, by indicator, labels and window of time.
CREATE TABLE projection_indicators.points (
    tenant       text        COLLATE "C" NOT NULL,
    generation   bigint      NOT NULL,
    indicator    text        COLLATE "C" NOT NULL,
    labels       text[]      COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    value        numeric     NOT NULL,
    event_count  bigint      NOT NULL CHECK (event_count >= 1),

    CONSTRAINT points_window PRIMARY KEY (tenant, generation, indicator, window_start, labels)
);

ALTER TABLE projection_indicators.points ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY points_of_tenant ON projection_indicators.points TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

CREATE VIEW projection_indicators.indicator_points WITH (security_invoker = true) AS
SELECT tenant, indicator, labels, window_start, value, event_count
FROM projection_indicators.points
WHERE generation = (SELECT projections.active_generation('indicators'));

GRANT USAGE ON SCHEMA projection_indicators TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_indicators.points TO girih_projections;
GRANT SELECT ON projection_indicators.indicator_points TO girih_projections;
