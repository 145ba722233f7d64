"""Why a request was refused, field by field. Knows no transport."""

from collections.abc import Iterable

_SEGMENT_CHARS_MAX = 100

Violation = tuple[str, str]
"""The path of a field in JSON names, "" for the whole request, and what is wrong with it."""


class ValidationError(Exception):
    """The request does not fit the contract. Carries at least one violation."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        super().__init__()
        self.violations = list(violations)

    def under(self, segment: str) -> list[Violation]:
        """The violations as seen from the object or list that holds the value at `segment`."""
        return [(joined(segment, path), description) for path, description in self.violations]


def refused(description: str) -> ValidationError:
    """One violation, of the value at hand."""
    return ValidationError([("", description)])


def joined(segment: str, path: str) -> str:
    """`events` and `[3].id` make `events[3].id`."""
    prefix = segment if len(segment) <= _SEGMENT_CHARS_MAX else f"{segment[:_SEGMENT_CHARS_MAX]}…"
    if not path or path.startswith("["):
        return prefix + path
    return f"{prefix}.{path}"
