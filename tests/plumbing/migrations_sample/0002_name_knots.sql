ALTER TABLE sample.knots
  ADD COLUMN name text NOT NULL DEFAULT '';
CREATE INDEX knots_by_name ON sample.knots (name);
