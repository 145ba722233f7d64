-- Where this database is: see the function in 0005_tell_incarnations.sql.
SELECT events.place();
