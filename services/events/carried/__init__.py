"""Records as they are carried from one log to another."""
