"""Trouble of every kind, while everything is asked of a whole girih."""
