-- Works as the service does until the transaction ends.
SET LOCAL ROLE girih_events;
