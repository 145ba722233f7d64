"""Pages of events: the log, streams, traces, schemas."""
