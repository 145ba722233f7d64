"""Runs a kernel slice by slice, so that it can be stopped and its open list can grow."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import MORE_ROOM, SLICE_ENDED
from services.lattice.kernels.diagonal import BUCKET, FREE, NONE, REGISTERS, push
from services.lattice.kernels.grid import Grid

Cancel = NDArray[np.uint8]
"""An array of one byte. Whoever sets it stops the computation it was given to."""

LOOKS_PER_SLICE = 1 << 20
"""The neighbours a kernel looks at before it returns for word of `Cancel`: 5 to 20 ms."""

BUCKETS_PER_STEP = 4


class Cancelled(Exception):  # noqa: N818 - nothing went wrong: it was asked for
    """The computation was told to stop and has no answer."""


def run_slices(
    go_on: Callable[[int], tuple[int, int]],
    looks_per_site: int,
    cancel: Cancel,
    enlarge: Callable[[], None] | None = None,
) -> tuple[int, int]:
    """Call `go_on(budget)` until it has an answer: (status, sites expanded in all)."""
    budget = max(1, LOOKS_PER_SLICE // max(1, looks_per_site))
    expanded = 0
    while True:
        if cancel[0]:
            raise Cancelled
        status, more = go_on(budget)
        expanded += more
        if status == MORE_ROOM and enlarge:
            enlarge()
        elif status != SLICE_ENDED:
            return status, expanded


class Buckets:
    """An open list for steps of different costs: a ring of buckets sharing a pool."""

    def __init__(self, grid: Grid) -> None:
        unit = int(grid.costs[1])
        self.shift = max(0, (unit // BUCKETS_PER_STEP).bit_length() - 1)
        # A step raises the total by no more than twice its cost.
        needed = (2 * int(grid.costs[-1]) >> self.shift) + 2
        self._room_min = 3 ** len(grid.kept) + 4096
        self.heads = np.empty(1 << (needed - 1).bit_length(), np.int64)
        self.registers = np.empty(REGISTERS, np.int64)
        self.pool_sites = np.empty(self._room_min, np.uint32)
        self.pool_next = np.empty(self._room_min, np.int32)

    @property
    def bytes_held(self) -> int:
        return self.heads.nbytes + self.pool_sites.nbytes + self.pool_next.nbytes

    def clear(self) -> None:
        self.heads.fill(NONE)
        self.registers.fill(0)
        self.registers[FREE] = NONE
        self.registers[BUCKET] = NONE

    def put_first(self, sites: NDArray[np.int64]) -> None:
        """Begin with these sites, in bucket 0."""
        self.registers[BUCKET] = 0
        while self.pool_sites.shape[0] < len(sites):
            self.enlarge()
        for site in sites:
            push(self.heads, self.pool_sites, self.pool_next, self.registers, 0, site)

    def enlarge(self) -> None:
        self.pool_sites = np.concatenate((self.pool_sites, np.empty_like(self.pool_sites)))
        self.pool_next = np.concatenate((self.pool_next, np.empty_like(self.pool_next)))
