"""Consumer groups on logs in memory."""
