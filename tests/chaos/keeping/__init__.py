"""Proofs that what was acknowledged outlives servers, machines and versions."""
