"""Pages of the system and of accounts."""
