"""Cuts a streamed text into lines, which end at a line feed and nowhere else."""

from collections.abc import Iterable, Iterator


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text that arrives in pieces, each as soon as it is complete.

    JSON text may hold U+2028, U+0085 and other characters that end a line for Python and for
    httpx, and none for anybody who writes JSON lines or server-sent events. A carriage return
    before the line feed is left out. What is behind the last line feed is a line as well.
    """
    begun: list[str] = []
    for piece in pieces:
        *ended, rest = piece.split("\n")
        for end in ended:
            yield "".join([*begun, end]).removesuffix("\r")
            begun.clear()
        if rest:
            begun.append(rest)
    if begun:
        yield "".join(begun)
