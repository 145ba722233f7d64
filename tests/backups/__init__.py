"""Backups of a whole server, and servers of backups."""
