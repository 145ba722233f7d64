"""Pages of jobs: simulations on lattices."""
