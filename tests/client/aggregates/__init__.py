"""Aggregates and who loads and saves them, against a real event store."""
