"""Transforms of arrays: arrays in, arrays out. Whoever calls has checked what fits."""
