-- Creates the log of a tenant unless it exists.
--
--   $1 tenant  text
INSERT INTO events.logs (tenant)
SELECT setting.tenant
FROM set_config('girih.tenant', $1, true) AS setting (tenant)
ON CONFLICT (tenant) DO NOTHING;
