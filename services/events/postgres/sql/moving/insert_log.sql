-- Has this place know a log, which is here when nobody has said else.
--
--   $1 tenant  text
INSERT INTO events.logs (tenant)
VALUES ($1)
ON CONFLICT (tenant) DO NOTHING;
