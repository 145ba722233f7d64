"""Proofs about large lattices and large computations, each a command."""
