"""Runs a kernel slice by slice, so that it can be stopped and its open list can grow."""

from collections.abc import Callable
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import OPEN_LIST_FULL, SLICE_ENDED
from services.lattice.kernels.buckets import BUCKET, NONE, REGISTERS, Buckets, push
from services.lattice.kernels.grid import Grid

Cancel = NDArray[np.uint8]
"""An array of one byte. Whoever sets it stops the computation it was given to."""

LOOKS_PER_SLICE = 1 << 19
"""The neighbours a kernel looks at before it returns for word of `Cancel`: 2 to 20 ms."""

BUCKETS_PER_STEP = 4


T = TypeVar("T", bound=np.generic)


class Cancelled(Exception):
    """The computation was told to stop and has no answer."""


class TooManySites(Exception):
    """The computation expanded as many sites as it may and has no answer yet."""


def run_slices(
    go_on: Callable[[int], tuple[int, int]],
    looks_per_site: int,
    cancel: Cancel,
    enlarge: Callable[[], None] | None = None,
    *,
    sites_max: int | None = None,
) -> tuple[int, int]:
    """Call `go_on(budget)` until it has an answer: (status, sites expanded in all).

    Raises `Cancelled`, and `TooManySites` once `sites_max` are expanded, or a slice more.
    """
    budget = max(1, LOOKS_PER_SLICE // max(1, looks_per_site))
    if sites_max is not None:
        budget = max(1, min(budget, sites_max))
    expanded = 0
    while True:
        if cancel[0]:
            raise Cancelled
        status, more = go_on(budget)
        expanded += more
        if status == OPEN_LIST_FULL and enlarge:
            enlarge()
        elif status != SLICE_ENDED:
            return status, expanded
        # What is wanted may be known by now, which the next slice would tell.
        if sites_max is not None and expanded - more >= sites_max:
            raise TooManySites


class BucketQueue:
    """The memory of an open list for steps of different costs."""

    def __init__(self, span: int, step_count: int, shift: int = 0, capacity: int = 256) -> None:
        """Buckets for a step that raises what waits by no more than `span` of them.

        So many steps lead from a site at most. `shift` is what the caller divides by.
        `capacity` sites have room before it must `enlarge`.
        """
        self.shift = shift
        capacity += step_count
        self.buckets = Buckets(
            heads=np.empty(1 << (span + 1).bit_length(), np.int64),
            sites=np.empty(capacity, np.uint32),
            follows=np.empty(capacity, np.int32),
            registers=np.empty(REGISTERS, np.int64),
        )

    @classmethod
    def on(cls, grid: Grid) -> Self:
        """One for steps that cost what `Grid.costs` says."""
        shift = max(0, (int(grid.costs[1]) // BUCKETS_PER_STEP).bit_length() - 1)
        # A step raises the total by no more than twice its cost.
        return cls(2 * int(grid.costs[-1]) >> shift, 3 ** len(grid.kept), shift)

    @property
    def bytes_held(self) -> int:
        return sum(array.nbytes for array in self.buckets)

    def clear(self) -> None:
        """Empty all buckets; costs their number, not what they hold."""
        self.buckets.heads.fill(NONE)
        self.buckets.registers[:] = (0, 0, NONE, NONE)

    def begin_with(
        self, sites: NDArray[np.int64], buckets: NDArray[np.int64] | None = None
    ) -> None:
        """Put sites into bucket 0, or each into its own: they span less than the ring."""
        self.clear()
        self.buckets.registers[BUCKET] = 0 if buckets is None else buckets.min()
        while len(self.buckets.sites) < len(sites):
            self.enlarge()
        for place, site in enumerate(sites):
            push(self.buckets, 0 if buckets is None else buckets[place], site)

    def enlarge(self) -> None:
        """Make room for twice as many sites; what waits stays."""
        self.buckets = self.buckets._replace(
            sites=doubled(self.buckets.sites), follows=doubled(self.buckets.follows)
        )


def doubled(array: NDArray[T]) -> NDArray[T]:
    """A copy with as much room again behind its first axis's last entry."""
    return np.concatenate((array, np.empty_like(array)))
