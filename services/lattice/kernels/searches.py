"""Finds paths on a grid: chooses the kernel, keeps its memory, reads off the path."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import axes, diagonal, jump, straight
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.runs import Path
from services.lattice.kernels.slices import BucketQueue, Cancel, Cancelled, doubled, run_slices
from services.lattice.kernels.steps import allocate_steps

_INITIAL_CAPACITY = 256
_TURN_SHARE_MAX = 0.12
_SITES_AT_ONCE = 1 << 20
_JUMPED_SITES_MAX = 1 << 25
SEARCHED_SITES_MAX = 1 << 27
"""Of a grid that paths are found on: what waits is a site and a step in 32 bits."""


class Search(ABC):
    """Finds paths on one grid, one at a time; keeps its memory from one to the next.

    Stamps tell what an earlier search left from what this one found, so a short search on a
    large lattice costs what it looks at, and the memory is cleared once in hundreds of searches.
    """

    method: ClassVar[str] = "a_star"
    """The algorithm: "a_star" or "jump_point"."""

    def __init__(self, grid: Grid, stamp_max: int) -> None:
        self.grid = grid
        self._lattice = grid.arrays
        self._stamp_max = stamp_max
        self._stamp = 0
        self._runs = np.empty((2, _INITIAL_CAPACITY), np.int64)

    @property
    @abstractmethod
    def bytes_held(self) -> int:
        """The bytes reserved. Pages no search has looked at take no memory of the machine."""

    def find(
        self,
        start: Sequence[int],
        goal: Sequence[int],
        cancel: Cancel,
        sites_max: int | None = None,
    ) -> Path:
        """Find a shortest path between two free sites.

        Raises `Cancelled`, or `TooManySites`; the search can be used again.
        """
        self._begin(start, goal)
        status, expanded = run_slices(
            self._go_on, self.looks_per_site, cancel, self._enlarge, sites_max=sites_max
        )
        if status == axes.EXHAUSTED:
            return self._no_path(expanded)
        steps, counts = self._trace()
        return self._path(self._on_all_axes(self._vectors(steps)), counts, expanded)

    @abstractmethod
    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some sites, by their C-order indices, the last search has looked at."""

    @abstractmethod
    def _begin(self, start: Sequence[int], goal: Sequence[int]) -> None: ...

    @abstractmethod
    def _go_on(self, budget: int) -> tuple[int, int]: ...

    @abstractmethod
    def _enlarge(self) -> None: ...

    @abstractmethod
    def _write_runs(self, steps: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
        """Write the runs found, the last first, and answer how many there are."""

    @abstractmethod
    def _vectors(self, steps: NDArray[np.int64]) -> NDArray[np.int8]:
        """The steps that `_write_runs` wrote, along the kept axes."""

    @abstractmethod
    def _clear(self) -> None:
        """Forget all stamps."""

    @property
    @abstractmethod
    def looks_per_site(self) -> int:
        """The neighbours looked at to expand a site, at most."""

    def _next_stamp(self) -> int:
        if self._stamp == self._stamp_max:
            self._clear()
            self._stamp = 0
        self._stamp += 1
        return self._stamp

    def _trace(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        steps, counts = self._runs
        count = self._write_runs(steps, counts)
        if count > len(steps):
            self._runs = steps, counts = np.empty((2, 2 * count), np.int64)
            self._write_runs(steps, counts)
        return steps[:count], counts[:count].copy()

    def _on_all_axes(self, vectors: NDArray[np.int8]) -> NDArray[np.int8]:
        if len(self.grid.kept) == len(self.grid.shape):
            return vectors
        widened = np.zeros((len(vectors), len(self.grid.shape)), np.int8)
        widened[:, self.grid.kept] = vectors
        return widened

    def _no_path(self, expanded: int) -> Path:
        return Path.none(len(self.grid.shape), expanded)

    def _path(self, vectors: NDArray[np.int8], counts: NDArray[np.int64], expanded: int) -> Path:
        return Path.along(vectors[::-1], counts[::-1], sites_expanded=expanded)


def search_on(grid: Grid, cancel: Cancel | None = None) -> Search:
    """Make the search that is fastest on this grid. Raises `Cancelled`."""
    is_open = not grid.axes[:, axes.WRAPS].any()
    is_plane = len(grid.kept) == 2 and is_open and grid.sites <= _JUMPED_SITES_MAX
    if is_plane and (grid.moore or _turn_share(grid) < _TURN_SHARE_MAX):
        return JumpSearch(grid, cancel)
    return DiagonalSearch(grid) if grid.diagonal else StraightSearch(grid)


def bytes_to_search(grid: Grid) -> int:
    """The bytes to reserve for a search: what it begins with, and as much for what waits."""
    if grid.diagonal:
        return 17 * grid.sites
    is_jumped = len(grid.kept) == 2 and grid.sites <= _JUMPED_SITES_MAX
    return (17 if is_jumped else 4) * grid.sites


def _turn_share(grid: Grid) -> float:
    """How many of the free sites of a plane a jump along a row may have to stop at.

    Looks at some 256 rows, evenly spread, and at those below. Where walls and rooms are
    blocked it is below 0.1; where a tenth is blocked at random it is 0.17, and most jumps are
    short.
    """
    row_count, column_count = (int(length) for length in grid.axes[:, axes.LENGTH])
    blocked = np.unpackbits(grid.blocked, count=grid.sites, bitorder="little")
    rows = np.arange(0, row_count - 1, max(1, row_count // 256))
    here, beside = (
        np.pad(blocked.reshape(row_count, column_count)[line] == 0, ((0, 0), (1, 1)))
        for line in (rows, rows + 1)
    )
    turns = here[:, 1:-1] & beside[:, 1:-1] & ~(beside[:, :-2] & beside[:, 2:])
    return float(turns.sum() / max(1, here.sum()))


class StraightSearch(Search):
    """A* on steps along one axis: 2 bytes per site, and 12 per site waiting."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid, straight.STAMP_MAX)
        self._marks = np.zeros(grid.sites, np.uint16)
        self._waiting = straight.Open(
            np.empty((3, _INITIAL_CAPACITY), np.uint32), np.empty(4, np.int64)
        )
        self._goal_site = 0
        self._goal = np.empty(0, np.int64)

    @property
    def bytes_held(self) -> int:
        return self._marks.nbytes + self._waiting.stacks.nbytes

    @property
    def looks_per_site(self) -> int:
        return 2 * len(self.grid.kept)

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_ours: NDArray[np.bool_] = self._marks[sites] >> straight.STAMP_SHIFT == self._stamp
        return is_ours

    def _begin(self, start: Sequence[int], goal: Sequence[int]) -> None:
        stamp, start_site = self._next_stamp(), self.grid.index(start)
        self._marks[start_site] = stamp << straight.STAMP_SHIFT | straight.SOURCE
        self._waiting.stacks[0, 0] = start_site << straight.ENTRY_SHIFT | straight.SETTLED
        self._waiting.registers[:] = (1, 0, 0, 0)
        self._goal_site, self._goal = self.grid.index(goal), self.grid.coordinates(goal)

    def _go_on(self, budget: int) -> tuple[int, int]:
        return straight.search_straight(
            self._lattice, self._goal, self._marks, self._stamp, self._waiting, budget
        )

    def _enlarge(self) -> None:
        stacks = self._waiting.stacks
        stacks = np.concatenate((stacks, np.empty_like(stacks)), axis=1)
        self._waiting = self._waiting._replace(stacks=stacks)

    def _write_runs(self, steps: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
        return straight.trace_straight(self._lattice, self._goal_site, self._marks, steps, counts)

    def _vectors(self, steps: NDArray[np.int64]) -> NDArray[np.int8]:
        vectors = np.zeros((len(steps), len(self.grid.kept)), np.int8)
        vectors[np.arange(len(steps)), steps >> 1] = 2 * (steps & 1) - 1
        return vectors

    def _clear(self) -> None:
        self._marks.fill(0)


class LabelledSearch(Search):
    """A search that keeps a length per site, 8 bytes."""

    def __init__(self, grid: Grid, bits_below_length: int) -> None:
        # What the sign, the length and the bits below it leave is for stamps.
        self._length_bits = grid.length_bits
        self._seal_shift = self._length_bits + bits_below_length
        super().__init__(grid, (1 << (63 - self._seal_shift)) - 1)
        self._values = np.zeros(grid.sites, np.int64)
        self._moves = diagonal.Moves(grid.costs, not grid.no_cutting)
        self._start_site = 0
        self._goal_site = 0

    def _labels(self) -> diagonal.Labels:
        longest = (1 << self._length_bits) - 1
        return diagonal.Labels(self._values, self._stamp << self._seal_shift, longest)

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_ours: NDArray[np.bool_] = self._values[sites] >> self._seal_shift == self._stamp
        return is_ours

    def _begin(self, start: Sequence[int], goal: Sequence[int]) -> None:
        self._next_stamp()
        self._start_site, self._goal_site = self.grid.index(start), self.grid.index(goal)

    def _clear(self) -> None:
        self._values.fill(0)


class DiagonalSearch(LabelledSearch):
    """A* on steps along several axes: 8 bytes per site, and 8 per site waiting."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid, 1)
        self._queue = BucketQueue.on(grid)
        self._steps = allocate_steps(len(grid.kept))
        self._reach = diagonal.allocate_reach(len(grid.kept))
        self._goal = np.empty(0, np.int64)
        self._best = np.empty(1, np.int64)

    @property
    def bytes_held(self) -> int:
        return self._values.nbytes + self._queue.bytes_held

    @property
    def looks_per_site(self) -> int:
        return int(3 ** len(self.grid.kept))

    def _begin(self, start: Sequence[int], goal: Sequence[int]) -> None:
        super()._begin(start, goal)
        self._queue.clear()
        self._goal = self.grid.coordinates(goal)

    def _go_on(self, budget: int) -> tuple[int, int]:
        return diagonal.search_diagonal(
            self._lattice,
            self._moves,
            self._start_site,
            diagonal.Target(self._goal, self._goal_site, self._best),
            self._labels(),
            self._queue.buckets,
            self._queue.shift,
            self._steps,
            self._reach,
            budget,
        )

    def _enlarge(self) -> None:
        self._queue.enlarge()

    def _write_runs(self, steps: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
        return diagonal.trace_diagonal(
            self._lattice,
            self._moves,
            self._start_site,
            self._goal_site,
            self._values,
            self._steps,
            self._reach.at,
            steps,
            counts,
        )

    def _vectors(self, steps: NDArray[np.int64]) -> NDArray[np.int8]:
        digits = steps[:, None] // 3 ** np.arange(len(self.grid.kept)) % 3
        vectors: NDArray[np.int8] = np.array([0, -1, 1], np.int8)[digits]
        return vectors


class JumpSearch(LabelledSearch):
    """Jump point search on two open axes: 8.25 bytes per site, and 16 per site waiting.

    Lattices of walls and rooms have few sites to turn at, and most of the others are jumped.
    """

    method: ClassVar[str] = "jump_point"

    def __init__(self, grid: Grid, cancel: Cancel | None = None) -> None:
        super().__init__(grid, jump.LENGTH_SHIFT)
        row_count, column_count = (int(length) for length in grid.axes[:, axes.LENGTH])
        blocked = np.unpackbits(grid.blocked, count=grid.sites, bitorder="little")
        free = 1 - blocked.reshape(row_count, column_count)
        read = np.zeros(1, np.int64)
        rows, columns = _lines(free, read, cancel), _lines(free.T, read, cancel)
        self._plane = jump.Plane(rows, columns, column_count, grid.moore)
        if not grid.moore:
            # With this cost of a diagonal the octile distance is that of straight steps.
            self._moves = diagonal.Moves(np.array([0, 1, 2]), cutting=False)
        self._heap = jump.Heap(np.empty((_INITIAL_CAPACITY, 2), np.int64), np.empty(1, np.int64))

    @property
    def bytes_held(self) -> int:
        lines = self._plane.rows.bits.nbytes + self._plane.columns.bits.nbytes
        return lines + self._values.nbytes + self._heap.entries.nbytes

    @property
    def looks_per_site(self) -> int:
        # Its kernel counts what it looks at, since that differs from site to site.
        return 1

    def _begin(self, start: Sequence[int], goal: Sequence[int]) -> None:
        super()._begin(start, goal)
        self._heap.size[0] = jump.FRESH

    def _go_on(self, budget: int) -> tuple[int, int]:
        return jump.search_jumping(
            self._plane,
            self._moves,
            self._start_site,
            self._goal_site,
            self._labels(),
            self._heap,
            budget,
        )

    def _enlarge(self) -> None:
        self._heap = self._heap._replace(entries=doubled(self._heap.entries))

    def _write_runs(self, steps: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
        return jump.trace_jumps(
            self._plane.column_count,
            self._moves.costs,
            self._start_site,
            self._goal_site,
            self._values,
            steps,
            counts,
        )

    def _vectors(self, steps: NDArray[np.int64]) -> NDArray[np.int8]:
        return np.array([jump.ROW_STEPS, jump.COLUMN_STEPS], np.int8)[:, steps].T


def _lines(
    free: NDArray[np.uint8], words_read: NDArray[np.int64], cancel: Cancel | None
) -> jump.Lines:
    """Lay out lines of sites, 1 where free, as `jump.Lines` has them. Raises `Cancelled`.

    So many lines at a time that `cancel` is looked at every some milliseconds.
    """
    line_count, length = free.shape
    words = (length + 2 + 63) // 64
    bits = np.zeros(1 + (line_count + 2) * words + 1, np.uint64)
    inner = bits[1:-1].reshape(line_count + 2, words)[1:-1]
    octets = inner.view(np.uint8)
    padded = np.zeros((max(1, _SITES_AT_ONCE // length), length + 1), np.uint8)
    for first in range(0, line_count, len(padded)):
        if cancel is not None and cancel[0]:
            raise Cancelled
        some = free[first : first + len(padded)]
        padded[: len(some), 1:] = some
        packed = np.packbits(padded[: len(some)], axis=1, bitorder="little")
        octets[first : first + len(some), : packed.shape[1]] = packed
    return jump.Lines(bits, words, words_read)
