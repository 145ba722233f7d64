"""Lengths and times as a call brings them: what they must be."""

import math

from services.plumbing.errors import Violations


def check_length(length: float, field: str, bad: Violations) -> None:
    """Check that something can be so long, or take so long."""
    if not (math.isfinite(length) and length >= 0):
        bad.add(field, f"must be finite and 0 or more, not {length}")
