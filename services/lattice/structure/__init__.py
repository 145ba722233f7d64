"""What a lattice is like as a graph: distances, components, centralities, spectra, trees."""
