-- How far the projections of each tenant are, who runs them, and what they could not apply.
--
-- A projection has generations: rows that were built from the log by themselves. One is active,
-- which readers see; a rebuild fills another beside it and makes it the active one by changing one
-- row, so that no statement ever sees half of either.
DO $$
BEGIN
    IF to_regrole('girih_projections') IS NULL THEN
        CREATE ROLE girih_projections NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END;
$$;

-- Whoever migrates may also serve, as in development.
DO $$
BEGIN
    SET LOCAL ROLE girih_projections;
    RESET ROLE;
EXCEPTION
    -- The other value is a role that another database of the server has made just now.
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        GRANT girih_projections TO CURRENT_USER;
END;
$$;

CREATE TABLE projections.states (
    tenant              text    COLLATE "C" NOT NULL,
    projection          text    COLLATE "C" NOT NULL,
    active_generation   bigint  NOT NULL DEFAULT 1 CHECK (active_generation >= 1),
    building_generation bigint  CHECK (building_generation > active_generation),
    rebuild_cause       text    COLLATE "C",
    is_paused           boolean NOT NULL DEFAULT false,
    poison_policy       text    COLLATE "C",
    replaced_policy     text    COLLATE "C",

    CONSTRAINT states_projection PRIMARY KEY (tenant, projection)
);

-- Up to where a generation holds the log, moved by the transaction that writes what it holds.
--
-- `fence` is the token of the lease that it is written under. Whoever takes it over puts a higher
-- one here, and from then on nothing is written under the one before.
CREATE TABLE projections.checkpoints (
    tenant          text        COLLATE "C" NOT NULL,
    projection      text        COLLATE "C" NOT NULL,
    generation      bigint      NOT NULL CHECK (generation >= 1),
    fence           bigint      NOT NULL DEFAULT 0 CHECK (fence >= 0),
    version         text        COLLATE "C" NOT NULL,
    incarnation     text        COLLATE "C" NOT NULL DEFAULT '',
    position        bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    event_count     bigint      NOT NULL DEFAULT 0 CHECK (event_count >= 0),
    moved_at        timestamptz,
    stopped_at      timestamptz,
    stop_cause      text        COLLATE "C",
    problem         text        COLLATE "C",
    failed_position bigint,
    attempt_count   bigint      NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),

    CONSTRAINT checkpoints_generation PRIMARY KEY (tenant, projection, generation)
);

-- Events that were put aside: those that could not be applied, and those of their streams behind
-- them, which are held back. Their payloads stay in the log.
CREATE TABLE projections.quarantine (
    tenant        text        COLLATE "C" NOT NULL,
    projection    text        COLLATE "C" NOT NULL,
    generation    bigint      NOT NULL,
    position      bigint      NOT NULL CHECK (position >= 1),
    stream        text        COLLATE "C" NOT NULL,
    type          text        COLLATE "C" NOT NULL,
    event_id      text        COLLATE "C" NOT NULL,
    problem       text        COLLATE "C" NOT NULL,
    is_held_back  boolean     NOT NULL,
    attempt_count bigint      NOT NULL CHECK (attempt_count >= 0),
    set_aside_at  timestamptz NOT NULL DEFAULT now(),
    replay_asked_at timestamptz,

    CONSTRAINT quarantine_position PRIMARY KEY (tenant, projection, generation, position)
);

-- So that a stream that is held back is found without the others.
CREATE INDEX quarantine_stream ON projections.quarantine (tenant, projection, generation, stream, position);

-- Who runs which share of the projections. A lease is good until its time by this database's
-- clock; its token grows each time that it is taken.
CREATE TABLE projections.leases (
    name       text        COLLATE "C" NOT NULL,
    holder     text        COLLATE "C" NOT NULL,
    token      bigint      NOT NULL CHECK (token >= 1),
    expires_at timestamptz NOT NULL,

    CONSTRAINT leases_name PRIMARY KEY (name)
);

-- The processes that want a share.
CREATE TABLE projections.members (
    holder     text        COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,

    CONSTRAINT members_holder PRIMARY KEY (holder)
);

ALTER TABLE projections.states ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projections.checkpoints ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projections.quarantine ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projections.leases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projections.members ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projections.schema_revision ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY states_of_tenant ON projections.states TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY checkpoints_of_tenant ON projections.checkpoints TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
CREATE POLICY quarantine_of_tenant ON projections.quarantine TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));
-- They say nothing of any tenant.
CREATE POLICY leases_of_all ON projections.leases TO girih_projections USING (true);
CREATE POLICY members_of_all ON projections.members TO girih_projections USING (true);
CREATE POLICY schema_revision_of_all ON projections.schema_revision USING (true);

GRANT USAGE ON SCHEMA projections TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE
ON projections.states, projections.checkpoints, projections.quarantine, projections.leases, projections.members
TO girih_projections;
GRANT SELECT ON projections.schema_revision TO girih_projections;

-- Which generation of a projection the tenant of this transaction reads: for the views that
-- projections are read through. Found once a statement, as it stood when that began.
CREATE FUNCTION projections.active_generation(of_projection text) RETURNS bigint
STABLE LANGUAGE sql AS $$
    SELECT active_generation
    FROM projections.states
    WHERE tenant = nullif(current_setting('girih.tenant', true), '') AND projection = of_projection;
$$;

REVOKE EXECUTE ON FUNCTION projections.active_generation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projections.active_generation TO girih_projections;
