-- Makes a table, and fails.
CREATE TABLE projection_broken.halves (tenant text NOT NULL, generation bigint NOT NULL);
SELECT 1 / 0;
