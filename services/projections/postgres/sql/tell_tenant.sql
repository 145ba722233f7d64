-- Tells the tenant whose rows this transaction sees.
--
--   $1 tenant  text
SELECT set_config('girih.tenant', $1, true);
