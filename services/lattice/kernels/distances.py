"""Measures distances from the nearest of some sources, on a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import axes, flood
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import BucketQueue, Cancel, run_slices
from services.lattice.kernels.steps import allocate_steps


@dataclass(frozen=True, eq=False)
class Distances:
    """The distance of every site from the nearest source."""

    values: NDArray[np.int32] | NDArray[np.float64]
    """Of shape (sites,) in C order. Read it with `at`: what is negative is not known."""
    sites_expanded: int
    bytes_worked: int
    """The bytes it took, `values` included."""
    method: str
    """The algorithm: "breadth_first" or "dijkstra"."""

    def at(self, sites: NDArray[np.int64] | slice) -> NDArray[np.int32] | NDArray[np.float64]:
        """The distances of the sites with these C-order indices, -1 where no path leads.

        A copy, and whole numbers where all are.
        """
        if self.values.dtype == np.int32:
            return self.values[sites].copy()
        # Adding zero turns the -0.0 of a source that was not expanded into 0.0.
        return np.maximum(self.values[sites], -1.0) + 0.0


def measure(
    grid: Grid,
    sources: Sequence[Sequence[int]],
    cancel: Cancel,
    targets: Sequence[Sequence[int]] | None = None,
) -> Distances:
    """Find the distance of every site from the nearest of some free sources.

    With targets it stops when theirs are known; other sites then may tell -1 or a length
    that is not the shortest. A blocked target has none. Raises `Cancelled`.
    """
    origins = _indices(grid, sources)
    wanted = None if targets is None else _free(grid, _indices(grid, targets))
    if grid.diagonal:
        return _measure_diagonal(grid, origins, wanted, cancel)
    return _measure_straight(grid, origins, wanted, cancel)


def bytes_to_measure(grid: Grid) -> int:
    """The most bytes that `measure` takes."""
    return grid.sites * (8 + 8 * 3 if grid.diagonal else 8)


def _measure_straight(
    grid: Grid, origins: NDArray[np.int64], wanted: NDArray[np.int64] | None, cancel: Cancel
) -> Distances:
    values = np.full(grid.sites, -1, np.int32)
    values[origins] = 0
    queue = np.empty(grid.sites, np.uint32)
    queue[: len(origins)] = origins
    ends = np.array([0, len(origins)], np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted is not None and bool((values[wanted] >= 0).all()):
            return axes.EXHAUSTED, 0
        return flood.flood_straight(grid.arrays, values, queue, ends, budget)

    _, expanded = run_slices(go_on, 2 * len(grid.kept), cancel)
    return Distances(values, expanded, values.nbytes + queue.nbytes, "breadth_first")


def _measure_diagonal(
    grid: Grid, origins: NDArray[np.int64], wanted: NDArray[np.int64] | None, cancel: Cancel
) -> Distances:
    values = np.full(grid.sites, -np.inf)
    values[origins] = -0.0
    costs = np.sqrt(np.arange(len(grid.kept) + 1))
    queue = BucketQueue(grid)
    queue.begin_with(origins)
    steps, at = allocate_steps(len(grid.kept)), np.empty(len(grid.kept), np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted is not None and not bool(np.signbit(values[wanted]).any()):
            return axes.EXHAUSTED, 0
        return flood.flood_diagonal(
            grid.arrays, costs, not grid.no_cutting, values, queue.buckets, steps, at, budget
        )

    _, expanded = run_slices(go_on, 3 ** len(grid.kept), cancel, queue.enlarge)
    return Distances(values, expanded, values.nbytes + queue.bytes_held, "dijkstra")


def _indices(grid: Grid, sites: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.unique(np.array([grid.index(site) for site in sites], np.int64))


def _free(grid: Grid, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    blocked = np.bitwise_and(grid.blocked[sites >> 3] >> (sites & 7), 1)
    free: NDArray[np.int64] = sites[blocked == 0]
    return free
