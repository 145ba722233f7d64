"""Logs that are carried elsewhere."""
