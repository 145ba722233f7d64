-- Keeps a snapshot, and answers whether it is among those that are kept: see the function in
-- 0020_forget_what_was_redacted.sql.
--
--   $1  tenant          text
--   $2  stream          text
--   $3  revision        bigint
--   $4  position        bigint   of the event of that revision
--   $5  schema_version  integer
--   $6  is_json         boolean
--   $7  incarnation     text     of the log
--   $8  content_type    text
--   $9  seal            bytea
--   $10 content         bytea
--   $11 count_max       bigint   so many are kept of the stream
--   $12 read_position   bigint   where the log ended when its first event was read
SELECT CASE
    -- The log stays here meanwhile: see 0018_place_logs.sql.
    WHEN events.stay($1) IS NULL THEN false
    ELSE events.save_snapshot($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
END;
