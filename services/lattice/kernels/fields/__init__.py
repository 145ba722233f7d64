"""Distances of all sites from the nearest of some sources."""
