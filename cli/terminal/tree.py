"""Trees drawn with lines: which mark stands before each thing. Knows nothing of what is shown."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

_LEVELS_MAX = 20
"""Drawn before a thing; one that is deeper is told by a number, or a chain of n things would take
n² characters."""

Key = TypeVar("Key", bound=Hashable)


def branches(keys: Sequence[Key], above: Mapping[Key, Key]) -> Iterator[tuple[Key, str]]:
    """Each key right behind what it hangs below, with the lines that lead to it.

    `above` has no circle. Siblings, and what hangs below nothing, keep the order of `keys`.
    """
    known = set(keys)
    below: dict[Key | None, list[Key]] = {}
    for key in keys:
        parent = above.get(key)
        below.setdefault(parent if parent in known else None, []).append(key)
    # What is still to be drawn, the next last: key, depth, the lines before it, and before what
    # hangs below it.
    left = [(key, 0, "", "") for key in reversed(below.get(None, ()))]
    while left:
        key, depth, mark, lines = left.pop()
        yield key, mark
        children = below.get(key, ())
        for place, child in enumerate(reversed(children)):
            corner, rest = ("├─ ", "│  ") if place else ("└─ ", "   ")
            if depth < _LEVELS_MAX:
                left.append((child, depth + 1, lines + corner, lines + rest))
            else:
                left.append((child, depth + 1, f"… {depth + 1} deep: ", ""))
