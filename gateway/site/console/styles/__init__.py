"""How the console looks."""
