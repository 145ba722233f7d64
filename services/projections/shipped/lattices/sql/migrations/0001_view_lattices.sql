-- What the list of lattices needs, searchable by what they are like.
CREATE TABLE projection_lattices.lattices (
    tenant           text        COLLATE "C" NOT NULL,
    generation       bigint      NOT NULL,
    lattice_id       text        COLLATE "C" NOT NULL,
    created_position bigint      NOT NULL CHECK (created_position >= 1),
    created_at       timestamptz NOT NULL,
    created_by       text        COLLATE "C" NOT NULL,
    shape            bigint[]    NOT NULL CHECK (cardinality(shape) BETWEEN 1 AND 10),
    is_periodic      boolean[]   NOT NULL,
    is_moore         boolean     NOT NULL,
    is_blocked       boolean     NOT NULL,
    site_count       numeric     NOT NULL CHECK (site_count >= 1),
    vertices         numeric     NOT NULL CHECK (vertices >= 0),
    edges            numeric     NOT NULL CHECK (edges >= 0),

    CONSTRAINT lattices_id PRIMARY KEY (tenant, generation, lattice_id)
);

-- The order of pages.
CREATE UNIQUE INDEX lattices_created ON projection_lattices.lattices (tenant, generation, created_position);
-- What is asked for most.
CREATE INDEX lattices_shape ON projection_lattices.lattices (tenant, generation, shape, created_position);

ALTER TABLE projection_lattices.lattices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY lattices_of_tenant ON projection_lattices.lattices TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

CREATE VIEW projection_lattices.lattice_views WITH (security_invoker = true) AS
SELECT
    tenant,
    lattice_id,
    created_position,
    created_at,
    created_by,
    shape,
    is_periodic,
    is_moore,
    is_blocked,
    site_count,
    vertices,
    edges
FROM projection_lattices.lattices
WHERE generation = (SELECT projections.active_generation('lattices'));

GRANT USAGE ON SCHEMA projection_lattices TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_lattices.lattices TO girih_projections;
GRANT SELECT ON projection_lattices.lattice_views TO girih_projections;
