"""Cheapest paths where each site has a cost of its own."""
