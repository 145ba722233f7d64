-- What was sold, in the order of sale: a later event of a stream depends on those before it.
CREATE TABLE projection_shop.sales (
    tenant     text   COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    stream     text   COLLATE "C" NOT NULL,
    total      bigint NOT NULL,
    history    text   NOT NULL,

    CONSTRAINT sales_stream PRIMARY KEY (tenant, generation, stream)
);

ALTER TABLE projection_shop.sales ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY sales_of_tenant ON projection_shop.sales TO girih_projections
USING (tenant = nullif(current_setting('girih.tenant', true), ''));

CREATE VIEW projection_shop.shop WITH (security_invoker = true) AS
SELECT tenant, stream, total, history
FROM projection_shop.sales
WHERE generation = (SELECT projections.active_generation('shop'));

GRANT USAGE ON SCHEMA projection_shop TO girih_projections;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_shop.sales TO girih_projections;
GRANT SELECT ON projection_shop.shop TO girih_projections;
