"""Kernels on the graph of a lattice's free sites: for what has no closed form."""
