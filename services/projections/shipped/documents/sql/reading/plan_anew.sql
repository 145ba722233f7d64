-- Has statements of this transaction planned for the values that they come with: which index serves a
-- page depends on what it is filtered by, and a plan for all values serves none.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);
