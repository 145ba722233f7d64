"""The graph of a lattice's free sites in compressed rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.weighted.costs import free_sites
from services.lattice.kernels.weighted.ways import Ways, list_ways


@dataclass(frozen=True, eq=False)
class Rows:
    """Vertices are the free sites in C order; each edge is there in both directions."""

    offsets: NDArray[np.int64]
    """Of shape (vertices + 1,)."""
    neighbours: NDArray[np.int32]
    """Of shape (2 edges,), each in [0, vertices)."""
    sites: NDArray[np.int64]
    """Of shape (vertices,): their C-order indices."""
    numbers: NDArray[np.int32]
    """Of shape (sites,): which vertex a site is; -1 where blocked."""

    @property
    def count(self) -> int:
        return len(self.sites)

    @property
    def degrees(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @property
    def bytes_held(self) -> int:
        return sum(
            array.nbytes for array in (self.offsets, self.neighbours, self.sites, self.numbers)
        )

    def spread(self, values: NDArray[np.generic], blocked: float) -> NDArray[np.generic]:
        """What is told of the vertices, of shape (sites,), and `blocked` elsewhere."""
        everywhere = np.full(len(self.numbers), blocked, values.dtype)
        everywhere[self.sites] = values
        return everywhere


def rows_of(grid: Grid, edge_count: int, cancel: Cancel) -> Rows:
    """Lay out a grid of so many edges. Raises `Cancelled`."""
    sites = np.flatnonzero(free_sites(grid))
    numbers = np.full(grid.sites, -1, np.int32)
    numbers[sites] = np.arange(len(sites), dtype=np.int32)
    offsets = np.zeros(len(sites) + 1, np.int64)
    neighbours = np.empty(2 * edge_count, np.int32)
    ways, done = Ways.on(grid), np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return lay_out(ways, sites, numbers, offsets, neighbours, done, budget)

    run_slices(go_on, len(ways.steps.sites), cancel)
    return Rows(offsets, neighbours, sites, numbers)


def bytes_of_rows(sites: int, edge_count: int) -> int:
    """The bytes that `rows_of` takes."""
    return 21 * sites + 8 * edge_count


@kernel
def lay_out(
    ways: Ways,
    sites: NDArray[np.int64],
    numbers: NDArray[np.int32],
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to write the rows of `Rows`; `done` has shape (1,): how many are written."""
    written = 0
    while done[0] < sites.shape[0]:
        if written == budget:
            return SLICE_ENDED, written
        vertex = done[0]
        at = offsets[vertex]
        for entry in range(1, list_ways(ways, sites[vertex])):
            neighbours[at] = numbers[ways.steps.sites[entry]]
            at += 1
        offsets[vertex + 1] = at
        done[0] += 1
        written += 1
    return EXHAUSTED, written
