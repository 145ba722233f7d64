"""Consumer groups: workers that share the events of a log."""
