"""Which sites of lattices are blocked: written, transformed, or as a field has it."""
