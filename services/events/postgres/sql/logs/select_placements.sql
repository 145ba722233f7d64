-- How many logs are at each place as far as this database knows; NULL is here. One that moves is where it
-- is and where it goes.
SELECT places.name AS place, count(*) AS log_count
FROM events.logs
CROSS JOIN LATERAL (
    SELECT logs.moved_to AS name
    UNION ALL
    SELECT logs.moving_to
    WHERE logs.moving_to IS NOT NULL
) AS places
GROUP BY places.name;
