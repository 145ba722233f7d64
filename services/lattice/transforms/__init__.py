"""Transforms of fields and of blocked sites: what they are, what fits, and applying them."""
