-- Two statements, so that a runner that sends one at a time would fail.
CREATE TABLE sample.knots (
  id bigint PRIMARY KEY
);
INSERT INTO sample.knots (id)
VALUES (1);
