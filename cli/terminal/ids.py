"""Ids that are told by how they begin, as tables show them."""

from collections.abc import Callable, Iterable, Sequence

from cli import exit_codes
from cli.failure import Failed

_LENGTH = 36
"""Of a UUID; names of keys are longer."""


def whole(given: Sequence[str], known: Callable[[], Iterable[str]]) -> list[str]:
    """The ids meant, from the list of those there are, which is asked for only when needed.

    Raises Failed for what none begins with, or several.
    """
    if all(len(one) >= _LENGTH for one in given):
        return list(given)
    there = list(known())
    return [one if len(one) >= _LENGTH else _meant(one, there) for one in given]


def _meant(given: str, known: Sequence[str]) -> str:
    meant = [one for one in known if one.casefold().startswith(given.casefold())]
    if given in meant:
        return given
    if not meant:
        raise Failed(f"no id begins with {given}", exit_codes.NOINPUT)
    if len(meant) > 1:
        message = f"{len(meant)} ids begin with {given}: {', '.join(meant[:5])}"
        raise Failed(message, exit_codes.USAGE)
    return meant[0]
