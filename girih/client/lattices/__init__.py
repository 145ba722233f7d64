"""Lattices: values of Python and arrays of numpy, and what is asked of the service."""
