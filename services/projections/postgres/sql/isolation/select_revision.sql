-- The revision that the schema `projections` is at; no row when none was ever applied.
SELECT version_num
FROM projections.schema_revision;
