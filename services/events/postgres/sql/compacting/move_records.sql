-- Moves the records in some pages to free room before them; NULL where there is not enough.
--
--   $1 first   bigint  page
--   $2 behind  bigint  the page behind the last
SELECT events.move_records($1, $2);
