"""Backups of the database as a whole, and back to any moment of it."""
