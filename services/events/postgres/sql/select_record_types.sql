-- The numbers of the type of records to be inserted and of arrays of them, which are others in each
-- database.
SELECT oid, typarray
FROM pg_type
WHERE typnamespace = 'events'::regnamespace
  AND typname = 'new_record';
