"""Pages of lattices: lists, creation, the viewer."""
