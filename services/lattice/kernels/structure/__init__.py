"""What a lattice is like as a graph: by formula where it is free, by search where it is not.

Edges have no length here: distances are counted in steps.
"""
