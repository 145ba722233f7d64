-- What somebody has asked to be done with an event that was put aside; whoever runs the projection
-- does it, so that one process at a time writes what it holds.
ALTER TABLE projections.quarantine
    ADD COLUMN asked text COLLATE "C" CHECK (asked IN ('replay', 'discard')),
    DROP COLUMN replay_asked_at;

-- Empty most of the time.
CREATE INDEX quarantine_asked ON projections.quarantine (tenant, projection, generation, stream)
WHERE asked IS NOT NULL;
