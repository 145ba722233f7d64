-- Creates the log of a tenant unless it exists.
--
--   $1 tenant  text
INSERT INTO events.logs (tenant)
VALUES ($1)
ON CONFLICT (tenant) DO NOTHING;
