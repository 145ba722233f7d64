"""How an array is cut into boxes that are worked on one by one. Pure arithmetic."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.region import Lengths, Region

Places = tuple[slice, ...]


@dataclass(frozen=True)
class Box:
    """Sites `begin + k`, with `0 <= k < shape` along each axis.

    It may reach beyond the ends of a ring, where the axis goes on at its other end.
    """

    begin: tuple[int, ...]
    shape: Lengths

    @property
    def sites(self) -> int:
        return math.prod(self.shape)

    def grown(self, reaches: Sequence[int], rings: Sequence[bool], whole: Lengths) -> "Box":
        """The box with so many sites more at both ends of each axis.

        Along what is no ring it ends where the array of the shape `whole` does. An axis that is
        covered from end to end stays as it is.
        """
        begins, lengths = [], []
        axes = zip(self.begin, self.shape, reaches, rings, whole, strict=True)
        for begin, length, reach, ring, total in axes:
            low, high = begin - reach, begin + length + reach
            if length == total:
                low, high = 0, total
            elif not ring:
                low, high = max(low, 0), min(high, total)
            begins.append(low)
            lengths.append(high - low)
        return Box(tuple(begins), tuple(lengths))

    def inside(self, outer: "Box") -> Places:
        """Where this box lies in an array of another one that has all of it."""
        lows = [own - its for own, its in zip(self.begin, outer.begin, strict=True)]
        return tuple(slice(low, low + length) for low, length in zip(lows, self.shape, strict=True))

    def pieces(self, whole: Lengths) -> Iterator[tuple[Places, Region]]:
        """What to read of an array of that shape: where each piece goes, and where it lies."""
        axes = [
            list(_pieces(begin, length, total))
            for begin, length, total in zip(self.begin, self.shape, whole, strict=True)
        ]
        for parts in product(*axes):
            places = tuple(slice(at, at + length) for at, _, length in parts)
            origin = tuple(begin for _, begin, _ in parts)
            shape = tuple(length for _, _, length in parts)
            yield places, Region(origin, shape, (1,) * len(shape))


def block_lengths(chunking: Chunking, fits: Callable[[Lengths], bool]) -> Lengths | None:
    """The longest axes of boxes of whole chunks that fit; None where a chunk alone does not."""
    units = chunking.chunk_shape
    counts = [-(-length // unit) for length, unit in zip(chunking.shape, units, strict=True)]
    while True:
        lengths = tuple(
            min(length, count * unit)
            for length, count, unit in zip(chunking.shape, counts, units, strict=True)
        )
        if fits(lengths):
            return lengths
        axis = max(range(len(counts)), key=counts.__getitem__)
        if counts[axis] == 1:
            return None
        counts[axis] = -(-counts[axis] // 2)


def cut(shape: Lengths, lengths: Lengths) -> Iterator[Box]:
    """Boxes of these lengths that cover an array, in C order. Those at its ends may be shorter."""
    axes = [range(0, total, length) for total, length in zip(shape, lengths, strict=True)]
    for begin in product(*axes):
        ends = zip(begin, lengths, shape, strict=True)
        yield Box(begin, tuple(min(length, total - at) for at, length, total in ends))


def chunks_of(box: Box, chunking: Chunking) -> Iterator[tuple[int, Places]]:
    """The chunks that a box of whole ones has, and where the numbers of each lie in it."""
    region = Region(box.begin, box.shape, (1,) * len(box.shape))
    for part in chunking.parts(region):
        places = zip(part.begin, part.shape, strict=True)
        yield part.ordinal, tuple(slice(at, at + length) for at, length in places)


def _pieces(begin: int, length: int, total: int) -> Iterator[tuple[int, int, int]]:
    """Of each piece along an axis where it goes, where it lies, and how long it is."""
    done = 0
    while done < length:
        at = (begin + done) % total
        count = min(length - done, total - at)
        yield done, at, count
        done += count
