"""The verbs of simulations."""
