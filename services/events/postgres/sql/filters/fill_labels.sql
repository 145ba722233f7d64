-- Labels records that were stored before there were labels: see the function in
-- 0006_label_blocks.sql. Answers up to which position they are still without, 0 when none is.
--
--   $1 tenant        text
--   $2 record_count  bigint  to be labelled at most
SELECT events.fill_labels($1, $2);
