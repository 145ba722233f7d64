-- Inserts records behind the head of a log, or answers false and does nothing: see the function
-- in 0004_find_heads_in_records.sql.
--
--   $1  tenant       text
--   $2  head         bigint     the position the records were decided on
--   $3  recorded_at  timestamptz
--   $4  begun        bigint[]   the numbers of the streams that begin
--   $5  begun_names  text[]     their names
--   $6  new_records  events.new_record[]
SELECT events.append($1, $2, $3, $4, $5, $6);
