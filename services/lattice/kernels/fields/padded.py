"""Breadth-first search on a lattice with a layer of its own around it. Knows no diagonal step.

With one site more on each axis a neighbour is a fixed offset away: a step out of the lattice
lands in the layer, whichever side it leaves by, since the site before an axis's first is the
layer behind the last of the line before. So no step asks where on its axis it is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, LENGTH, SLICE_ENDED, WRAPS
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, Cancelled

NEW = -1
BLOCKED = -2
OUTSIDE = -3

_SHARE_MAX = 2.0
"""Where the layer makes a lattice larger than that, as many short axes do, it costs too much."""

_AT_ONCE = 1 << 20
"""So many numbers are written between two looks at whether somebody still waits."""

N = TypeVar("N", bound=np.generic)

HEAD = 0
TAIL = 1


@dataclass(frozen=True, eq=False)
class Padding:
    """Where the sites of a lattice lie once each axis has one site more."""

    shape: tuple[int, ...]
    """Of the lattice, along the axes of more than one site."""
    strides: NDArray[np.int64]
    """Of shape (d,)."""
    offsets: NDArray[np.int64]
    """Of shape (2 d,): what a step down or up each axis adds to a place."""
    around: NDArray[np.int64]
    """Of shape (2 d,): what the step adds that leads over the edge of a ring, 0 of no ring."""
    size: int
    """Of an array of all places: the layer, and a line of it before the first site."""

    @classmethod
    def of(cls, grid: Grid) -> Self | None:
        """That of a grid, or None where it is not worth it."""
        shape = tuple(int(length) for length in grid.axes[:, LENGTH])
        size = math.prod(length + 1 for length in shape)
        if not shape or size > _SHARE_MAX * grid.sites:
            return None
        strides = np.array(
            [math.prod(length + 1 for length in shape[axis + 1 :]) for axis in range(len(shape))],
            np.int64,
        )
        offsets = np.outer(strides, (-1, 1)).reshape(-1)
        spans = grid.axes[:, WRAPS] * (grid.axes[:, LENGTH] - 1)
        around = -offsets * np.repeat(spans, 2)
        return cls(shape, strides, offsets, around, size + int(strides[0]))

    @property
    def first(self) -> int:
        """The place of the first site."""
        return int(self.strides[0])

    def places(self, sites: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of sites that are given by their C-order indices."""
        places = np.full(sites.shape, self.first, np.int64)
        rest = sites
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            rest, at = np.divmod(rest, length)
            places += at * stride
        return places

    def inside(self, values: NDArray[N]) -> NDArray[N]:
        """The values of the sites, as a view of the lattice's shape on those of all places."""
        (item,) = values.strides
        return np.lib.stride_tricks.as_strided(
            values[self.first :], self.shape, [int(stride) * item for stride in self.strides]
        )

    def laid_out(self, blocked: NDArray[np.uint8], cancel: Cancel) -> NDArray[np.int32]:
        """What is known of each place before a search: that it is new, blocked or outside.

        Raises `Cancelled`.
        """
        values = filled(self.size, OUTSIDE, np.int32, cancel)
        inside, bits = self.inside(values), self._bits(blocked)
        for slab in self._slabs(cancel):
            np.subtract(np.int32(NEW), bits[slab], out=inside[slab])
        return values

    def free(self, blocked: NDArray[np.uint8], margin: int, cancel: Cancel) -> NDArray[np.uint8]:
        """1 at each place that is a free site, with a margin on both sides. Raises `Cancelled`."""
        free = np.zeros(self.size + 2 * margin, np.uint8)
        inside, bits = self.inside(free[margin:]), self._bits(blocked)
        for slab in self._slabs(cancel):
            np.subtract(np.uint8(1), bits[slab], out=inside[slab])
        return free

    def _bits(self, blocked: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bits = np.unpackbits(blocked, count=math.prod(self.shape), bitorder="little")
        return bits.reshape(self.shape)

    def _slabs(self, cancel: Cancel) -> Iterator[slice]:
        """The first axis in parts of some milliseconds each."""
        thickness = max(1, _AT_ONCE * self.shape[0] // math.prod(self.shape))
        for first in range(0, self.shape[0], thickness):
            if cancel[0]:
                raise Cancelled
            yield slice(first, first + thickness)


def filled(size: int, value: int, kind: type[np.int32 | np.int64], cancel: Cancel) -> NDArray[Any]:
    """An array of one value. Raises `Cancelled`."""
    values = np.empty(size, kind)
    for first in range(0, size, _AT_ONCE):
        if cancel[0]:
            raise Cancelled
        values[first : first + _AT_ONCE] = value
    return values


@kernel
def flood_padded(
    distances: NDArray[np.int32],
    offsets: NDArray[np.int64],
    around: NDArray[np.int64],
    queue: NDArray[np.uint32],
    ends: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with a breadth-first search along single axes.

    Parameters
    ----------
    distances : int32 array of shape (places,)
        In steps, or NEW, BLOCKED or OUTSIDE. To begin, 0 at the sources.
    offsets, around
        As in `Padding`.
    queue : uint32 array of shape (sites + 1,)
        Places. To begin, the sources. The last is scratch.
    ends : int64 array of shape (2,)
        How many of the queue were expanded, and how many are in it.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
        What is reached is final, whatever the status.

    Notes
    -----
    Where a neighbour is new cannot be foretold where sites are blocked at random, so nothing is
    decided by it: what is known is written again, and a place that is no news is overwritten
    by the next. Places are looked up as unsigned numbers, which are not checked for a sign.
    """
    head, tail = ends[HEAD], ends[TAIL]
    first = head
    while head < tail and head - first < budget:
        place = np.int64(queue[np.uint64(head)])
        head += 1
        length = np.int32(distances[np.uint64(place)] + 1)
        for step in range(offsets.shape[0]):
            near = np.uint64(place + offsets[step])
            known = distances[near]
            if known == OUTSIDE and around[step] != 0:
                near = np.uint64(place + around[step])
                known = distances[near]
            is_new = known == NEW
            distances[near] = length if is_new else known
            queue[np.uint64(tail)] = near
            tail += np.int64(is_new)
    ends[HEAD], ends[TAIL] = head, tail
    return (EXHAUSTED if head == tail else SLICE_ENDED), head - first


def narrowed(values: NDArray[np.int32], longest: int) -> NDArray[Any]:
    """Distances of which none exceeds `longest`, in C order: -1 where nothing was reached.

    An array of int16 where they fit, else of int32.
    """
    narrow = np.int16 if longest <= np.iinfo(np.int16).max else np.int32
    distances = np.empty(values.shape, narrow)
    np.maximum(values, NEW, out=distances, casting="same_kind")
    return distances.reshape(-1)
