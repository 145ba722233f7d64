"""Finds paths on a grid: chooses the kernel, keeps its memory, tells what it found."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import axes, diagonal, straight
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Buckets, Cancel, run_slices

Method = Literal["a_star", "jump_point"]
Trace = Callable[[NDArray[np.int64], NDArray[np.int64]], int]


@dataclass(frozen=True, eq=False)
class Path:
    """A shortest path, or that there is none: then all but the work is zero or empty."""

    found: bool
    length: float
    """The sum of the steps' costs, from as many square roots as kinds of steps."""
    steps: int
    run_steps: NDArray[np.int8]
    """Of shape (runs, axes): each run's step, -1, 0 or 1 per axis, from the start on."""
    run_counts: NDArray[np.int64]
    """Of shape (runs,): how often each run's step is taken, 1 or more."""
    sites_expanded: int
    method: Method


class Search(ABC):
    """Finds paths on one grid, one at a time; keeps its memory from one to the next.

    Stamps tell what an earlier search left from what this one found, so a short search on a
    large lattice costs what it looks at, and the memory is cleared once in hundreds of searches.
    """

    method: Method = "a_star"

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    @property
    @abstractmethod
    def bytes_held(self) -> int:
        """The bytes reserved. Pages no search has looked at take no memory of the machine."""

    @abstractmethod
    def find(self, start: Sequence[int], goal: Sequence[int], cancel: Cancel) -> Path:
        """Find a shortest path between two free sites.

        Raises `Cancelled`; the search can be used again.
        """

    def _no_path(self, expanded: int) -> Path:
        vectors = np.zeros((0, len(self.grid.shape)), np.int8)
        return Path(False, 0.0, 0, vectors, np.zeros(0, np.int64), expanded, self.method)

    def _path(self, vectors: NDArray[np.int8], counts: NDArray[np.int64], expanded: int) -> Path:
        """Make a path from its runs along the kept axes, the last run first."""
        run_steps = np.zeros((len(counts), len(self.grid.shape)), np.int8)
        run_steps[:, self.grid.kept] = vectors[::-1]
        taken = np.bincount(np.count_nonzero(vectors, axis=1), counts).astype(np.int64)
        return Path(
            found=True,
            length=math.fsum(count * math.sqrt(kind) for kind, count in enumerate(taken.tolist())),
            steps=int(counts.sum()),
            run_steps=run_steps,
            run_counts=counts[::-1],
            sites_expanded=expanded,
            method=self.method,
        )


def search_on(grid: Grid) -> Search:
    """Make the search that is fastest on this grid."""
    return DiagonalSearch(grid) if grid.diagonal else StraightSearch(grid)


class StraightSearch(Search):
    """A* on steps along one axis: 2 bytes per site, and 12 per site waiting."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._marks = np.zeros(grid.sites, np.uint16)
        self._stacks = np.empty((3, 1024), np.uint32)
        self._stamp = 0

    @property
    def bytes_held(self) -> int:
        return self._marks.nbytes + self._stacks.nbytes

    def find(self, start: Sequence[int], goal: Sequence[int], cancel: Cancel) -> Path:
        grid, stamp = self.grid, self._next_stamp()
        self._begin(grid.index(start), stamp)
        registers = np.array([1, 0, 0, 0], np.int64)
        target = grid.coordinates(goal)

        def go_on(budget: int) -> tuple[int, int]:
            answer: tuple[int, int] = straight.search_straight(
                grid.blocked, grid.axes, target, self._marks, stamp, self._stacks, registers, budget
            )
            return answer

        status, expanded = run_slices(go_on, 2 * len(grid.kept), cancel, self._enlarge)
        if status == axes.EXHAUSTED:
            return self._no_path(expanded)
        vectors, counts = self._runs(grid.index(goal))
        return self._path(vectors, counts, expanded)

    def _begin(self, start_site: int, stamp: int) -> None:
        self._marks[start_site] = stamp << straight.STAMP_SHIFT | straight.SOURCE
        self._stacks[0, 0] = start_site << straight.ENTRY_SHIFT | straight.SETTLED

    def _runs(self, goal_site: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        grid = self.grid

        def trace(run_steps: NDArray[np.int64], run_counts: NDArray[np.int64]) -> int:
            count: int = straight.trace_straight(
                grid.axes, goal_site, self._marks, run_steps, run_counts
            )
            return count

        steps, counts = _trace(trace)
        vectors = np.zeros((len(steps), len(grid.kept)), np.int8)
        vectors[np.arange(len(steps)), steps >> 1] = 2 * (steps & 1) - 1
        return vectors, counts

    def _next_stamp(self) -> int:
        if self._stamp == straight.STAMP_MAX:
            self._marks.fill(0)
            self._stamp = 0
        self._stamp += 1
        return self._stamp

    def _enlarge(self) -> None:
        self._stacks = np.concatenate((self._stacks, np.empty_like(self._stacks)), axis=1)


class DiagonalSearch(Search):
    """A* on steps along several axes: 8 bytes per site, and 8 per site waiting."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._labels = np.zeros(grid.sites, np.int64)
        self._buckets = Buckets(grid)
        self._stamp = 0

    @property
    def bytes_held(self) -> int:
        return self._labels.nbytes + self._buckets.bytes_held

    def find(self, start: Sequence[int], goal: Sequence[int], cancel: Cancel) -> Path:
        grid, stamp, buckets = self.grid, self._next_stamp(), self._buckets
        start_site, target, cutting = grid.index(start), grid.coordinates(goal), not grid.no_cutting
        buckets.clear()

        def go_on(budget: int) -> tuple[int, int]:
            answer: tuple[int, int] = diagonal.search_diagonal(
                grid.blocked,
                grid.axes,
                grid.costs,
                cutting,
                start_site,
                target,
                self._labels,
                stamp,
                grid.length_bits,
                buckets.heads,
                buckets.pool_sites,
                buckets.pool_next,
                buckets.shift,
                buckets.registers,
                budget,
            )
            return answer

        status, expanded = run_slices(go_on, 3 ** len(grid.kept), cancel, buckets.enlarge)
        if status == axes.EXHAUSTED:
            return self._no_path(expanded)
        vectors, counts = self._runs(start_site, grid.index(goal))
        return self._path(vectors, counts, expanded)

    def _runs(self, start_site: int, goal_site: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        grid = self.grid

        def trace(run_steps: NDArray[np.int64], run_counts: NDArray[np.int64]) -> int:
            count: int = diagonal.trace_diagonal(
                grid.blocked,
                grid.axes,
                grid.costs,
                not grid.no_cutting,
                start_site,
                goal_site,
                self._labels,
                run_steps,
                run_counts,
            )
            return count

        codes, counts = _trace(trace)
        digits = codes[:, None] // 3 ** np.arange(len(grid.kept)) % 3
        return np.array([0, -1, 1], np.int8)[digits], counts

    def _next_stamp(self) -> int:
        # One bit beside the length tells what was expanded, and the sign stays clear.
        if self._stamp == (1 << (62 - self.grid.length_bits)) - 1:
            self._labels.fill(0)
            self._stamp = 0
        self._stamp += 1
        return self._stamp


def _trace(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Let a kernel count the runs of a path, then write them, unless they are few."""
    run_steps, run_counts = np.empty(64, np.int64), np.empty(64, np.int64)
    count = trace(run_steps, run_counts)
    if count > len(run_steps):
        run_steps, run_counts = np.empty(count, np.int64), np.empty(count, np.int64)
        trace(run_steps, run_counts)
    return run_steps[:count], run_counts[:count]
