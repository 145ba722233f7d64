"""Adds numbers up without rounding them. Knows no indicator."""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import Final

DIGITS_MAX: Final = 1_000
"""Of a number, before or behind its point: PostgreSQL holds more, and nobody means it."""

# Python's own sums have 28 digits, so which are lost depends on what is added together. These have
# room for any count of such numbers; a sum that is rounded all the same is an error.
_EXACT: Final = Context(
    prec=2 * DIGITS_MAX + 100, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation, Inexact]
)


def add(one: Decimal, other: Decimal) -> Decimal:
    """The sum, with all of its digits."""
    return _EXACT.add(one, other)
