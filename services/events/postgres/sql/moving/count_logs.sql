-- How many logs are here.
SELECT count(*) FILTER (WHERE moved_to IS NULL)
FROM events.logs;
