"""A model of a log, and a machine that compares the service with it, call by call."""
