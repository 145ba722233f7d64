-- Works as the process does until the transaction ends.
SET LOCAL ROLE girih_projections;
