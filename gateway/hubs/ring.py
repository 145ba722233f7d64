"""The newest items of a stream as they are sent, for those who are a little behind.

Knows bytes and ids, and nobody who reads them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

BYTES_MAX: Final = 2**18
"""Of one ring, a single larger piece apart."""

TAKEN_BYTES_MAX: Final = 2**16
"""Taken at once: more would only wait to be sent."""


class Piece(NamedTuple):
    """Some items next to each other, as they are sent."""

    text: bytes
    ids: Sequence[int]
    """Of the items, rising."""
    ends: Sequence[int]
    """Where in the text each ends."""
    incarnation: str
    """What the ids belong to; empty when they belong to nothing."""

    @property
    def last_id(self) -> int:
        return self.ids[-1]

    def from_id(self, first: int) -> bytes:
        """The text of the items from an id on."""
        count = bisect_left(self.ids, first)
        return self.text[self.ends[count - 1] :] if count else self.text


class RingBytes:
    """What all rings of a process hold together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held = 0

    @property
    def is_too_much(self) -> bool:
        return self.held > self._bytes_max


class Ring:
    """The newest pieces of one stream."""

    def __init__(self, first_id: int, incarnation: str, together: RingBytes) -> None:
        self.covered_from = first_id
        """Every item of the stream from this id on is here, or is still to come."""
        self.end = first_id
        """Behind the last item that is here."""
        self.incarnation = incarnation
        """Of the last item; empty while that is not known."""
        self._pieces: list[Piece] = []
        self._byte_count = 0
        self._together = together

    def add(self, piece: Piece) -> None:
        """Put in what comes next, and let go of what is too much."""
        self._pieces.append(piece)
        self._count(len(piece.text))
        self.end, self.incarnation = piece.last_id + 1, piece.incarnation
        while len(self._pieces) > 1 and (
            self._byte_count > BYTES_MAX or self._together.is_too_much
        ):
            oldest = self._pieces.pop(0)
            self._count(-len(oldest.text))
            self.covered_from = oldest.last_id + 1

    def covers(self, first_id: int, incarnation: str) -> bool:
        """Whether who has seen all before that id, in that incarnation, can go on from here."""
        is_same = not incarnation or incarnation == self.incarnation
        return is_same and self.covered_from <= first_id <= self.end

    def take(self, first_id: int) -> tuple[bytes, int]:
        """Text of items from an id on, and the id that is next then. Only where that is covered."""
        index = bisect_right(self._pieces, first_id - 1, key=attrgetter("last_id"))
        texts: list[bytes] = []
        byte_count, next_id = 0, first_id
        for piece in self._pieces[index:]:
            text = piece.from_id(next_id)
            if texts and byte_count + len(text) > TAKEN_BYTES_MAX:
                break
            texts.append(text)
            byte_count += len(text)
            next_id = piece.last_id + 1
        return b"".join(texts), next_id

    def clear(self) -> None:
        """Hold nothing any more."""
        self._pieces.clear()
        self._count(-self._byte_count)

    def _count(self, byte_count: int) -> None:
        self._byte_count += byte_count
        self._together.held += byte_count
