"""Attacks on a whole girih, generated from its contract."""
