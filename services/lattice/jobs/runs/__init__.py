"""Jobs while a replica works on them, each kind in its own way."""
