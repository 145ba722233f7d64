"""Aggregates: states folded from streams, commands that decide on them, and who loads and saves."""
