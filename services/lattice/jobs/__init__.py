"""Simulations that take longer than a call: waited for, run, and gone on with."""
