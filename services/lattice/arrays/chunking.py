"""How an array is cut into chunks, each of numbers that follow each other in C order.

So whatever is read or written in C order passes chunk after chunk: one is in memory at a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from services.lattice.arrays.region import Lengths, Region

CHUNK_BYTES = 1 << 22
"""The most bytes of a chunk: what a write of a single number costs."""


@dataclass(frozen=True)
class ChunkPart:
    """What of one chunk belongs to a region."""

    ordinal: int
    """Of the chunk, in C order."""
    begin: Lengths
    """Where it is in the region."""
    selection: tuple[slice, ...]
    """Into an array of the shape of a chunk."""
    shape: Lengths
    """Of what is selected."""

    @property
    def sites(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Chunking:
    """Chunks of one row of the axes before `axis`, of `rows` along it, and all behind it.

    The last chunk along the axis may reach beyond it: what lies there is zero.
    """

    shape: Lengths
    axis: int
    rows: int

    @classmethod
    def of(
        cls, shape: Sequence[int], item_bytes: int, chunk_bytes: int = CHUNK_BYTES
    ) -> "Chunking":
        """Cut an array of numbers of so many bytes into chunks of at most `chunk_bytes`, as
        equal as can be."""
        for axis, length in enumerate(shape):
            row_bytes = item_bytes * math.prod(shape[axis + 1 :])
            if row_bytes <= chunk_bytes:
                blocks = -(-length // max(1, chunk_bytes // row_bytes))
                return cls(tuple(shape), axis, -(-length // blocks))
        raise AssertionError("a single number is no larger than a chunk")

    @property
    def chunk_shape(self) -> Lengths:
        return (1,) * self.axis + (self.rows,) + self.shape[self.axis + 1 :]

    @property
    def chunk_sites(self) -> int:
        return math.prod(self.chunk_shape)

    @property
    def count(self) -> int:
        """The number of chunks."""
        return math.prod(self.shape[: self.axis]) * self._blocks

    def key(self, ordinal: int) -> str:
        """The name of a chunk in Zarr's default encoding, separated by dots: `c.0.3.0`."""
        *outer, block = self._place(ordinal)
        behind = [0] * (len(self.shape) - self.axis - 1)
        return ".".join(["c", *map(str, [*outer, block, *behind])])

    def begin(self, ordinal: int) -> int:
        """Where a chunk begins in C order."""
        outer, block = divmod(ordinal, self._blocks)
        row_sites = math.prod(self.shape[self.axis + 1 :])
        return (outer * self.shape[self.axis] + block * self.rows) * row_sites

    def inside(self, ordinal: int) -> int:
        """How many numbers of a chunk belong to the array: those before the others."""
        block = self._place(ordinal)[-1]
        rows = min(self.rows, self.shape[self.axis] - block * self.rows)
        return rows * math.prod(self.shape[self.axis + 1 :])

    def parts(self, region: Region) -> Iterator[ChunkPart]:
        """What of each chunk belongs to a region, in C order of both."""
        outer = zip(region.origin, region.shape, region.steps, strict=True)
        places = [range(o, o + n * step, step) for o, n, step in outer]
        behind = tuple(
            slice(place.start, place[-1] + 1, place.step) for place in places[self.axis + 1 :]
        )
        behind_shape = region.shape[self.axis + 1 :]
        behind_begin = (0,) * len(behind)
        for outer_places in product(*map(enumerate, places[: self.axis])):
            first = self._ordinal([at for _, at in outer_places])
            outer_begin = tuple(index for index, _ in outer_places)
            for block, done, rows in _blocks(places[self.axis], self.rows):
                count = len(range(rows.start, rows.stop, rows.step))
                yield ChunkPart(
                    ordinal=first + block,
                    begin=(*outer_begin, done, *behind_begin),
                    selection=(slice(0, 1),) * self.axis + (rows, *behind),
                    shape=(1,) * self.axis + (count,) + behind_shape,
                )

    @property
    def _blocks(self) -> int:
        return -(-self.shape[self.axis] // self.rows)

    def _ordinal(self, before: Sequence[int]) -> int:
        index = 0
        for at, length in zip(before, self.shape[: self.axis], strict=True):
            index = index * length + at
        return index * self._blocks

    def _place(self, ordinal: int) -> list[int]:
        rest, block = divmod(ordinal, self._blocks)
        place = [block]
        for length in reversed(self.shape[: self.axis]):
            rest, at = divmod(rest, length)
            place.insert(0, at)
        return place


def _blocks(places: range, rows: int) -> Iterator[tuple[int, int, slice]]:
    """The blocks of rows that some places along an axis lie in, how many places come before each,
    and which of its rows they are."""
    done = 0
    while done < len(places):
        block, first = divmod(places[done], rows)
        count = min(-(-(rows - first) // places.step), len(places) - done)
        yield block, done, slice(first, first + (count - 1) * places.step + 1, places.step)
        done += count
