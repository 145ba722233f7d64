"""Closed forms on lattices without blocked sites. Steps lead along one axis, unless it says else.

Such a lattice is the Cartesian product of paths and rings: what is a sum or a product over
sites is one over axes.
"""
