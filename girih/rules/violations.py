"""Bad fields of a message, as many as are told. Knows no rule."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class FieldViolation:
    """One bad field, by its path in proto names: `events[3].id`."""

    field: str
    description: str


VIOLATIONS_MAX: Final = 100
"""So many bad fields of a request are told; who gets more wrong reads the contract."""


class Violations:
    """Collects bad fields, so that a caller learns of all of them at once."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Keep it, unless it is there or there are `VIOLATIONS_MAX` already.

        The contract's rules and the domain's may find the same.
        """
        violation = FieldViolation(field, description)
        if not self.is_full and violation not in self._violations:
            self._violations.append(violation)

    def has(self, field: str) -> bool:
        """Whether something is wrong with a field already."""
        return any(violation.field == field for violation in self._violations)

    @property
    def is_full(self) -> bool:
        """There are as many as are told: looking on is of no use."""
        return len(self._violations) >= VIOLATIONS_MAX

    def __bool__(self) -> bool:
        return bool(self._violations)

    def __iter__(self) -> Iterator[FieldViolation]:
        return iter(self._violations)


def first_of(first: str, violation_count: int) -> str:
    """The message of an error, from its first violation and how many were found."""
    if violation_count <= 1:
        return first
    # Whoever has found enough looks for no more.
    at_least = "at least " if violation_count >= VIOLATIONS_MAX else ""
    return f"{first} (and {at_least}{violation_count - 1} more)"
