-- The logins of the services, once `girih migrate` has run as the owner:
--
--   psql -v service_password=... -v projections_password=... -f deploy/roles.sql OWNER_URL
--
-- They own nothing, and can do what the roles may that they are members of.
CREATE ROLE girih_service LOGIN PASSWORD :'service_password';
GRANT girih_events, girih_events_keeper, girih_events_compactor, girih_events_lister, girih_events_mover
TO girih_service;
CREATE ROLE girih_readmodels LOGIN PASSWORD :'projections_password';
GRANT girih_projections TO girih_readmodels;
