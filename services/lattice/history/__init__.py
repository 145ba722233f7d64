"""What happened to lattices: told, undone, done again, compared and verified."""
