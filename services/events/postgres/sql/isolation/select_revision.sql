-- The revision that the schema is at; no row when none was ever applied.
SELECT version_num
FROM events.schema_revision;
