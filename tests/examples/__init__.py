"""The example applications against a real girih."""
