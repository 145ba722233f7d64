"""Ids that are told by how they begin, as tables show them."""

from collections.abc import Callable, Iterable, Sequence

from cli import exit_codes
from cli.failure import Failed

_LENGTH = 36
"""Of a UUID."""


def whole(given: Sequence[str], known: Callable[[], Iterable[str]]) -> list[str]:
    """The ids meant, from the list of those there are, which is asked for only when needed.

    What none begins with stays as it is: whose id it would be says that there is none. Raises
    Failed for what several begin with.
    """
    if all(len(one) >= _LENGTH for one in given):
        return list(given)
    there = list(known())
    return [_meant(one, there) for one in given]


def _meant(given: str, known: Sequence[str]) -> str:
    beginning = given.casefold()
    meant = [one for one in known if one.startswith(beginning)]
    if len(meant) > 1 and given not in meant:
        message = f"{len(meant)} ids begin with {given}: {', '.join(meant[:5])}"
        raise Failed(message, exit_codes.USAGE)
    return meant[0] if len(meant) == 1 else given
