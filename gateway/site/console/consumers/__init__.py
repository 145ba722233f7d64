"""Pages of what consumes events: groups and projections."""
