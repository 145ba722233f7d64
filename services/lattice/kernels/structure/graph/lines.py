"""Components where each step can be told as steps along one axis: by runs of free sites on lines.

A line is what lies along the last axis. Its runs are read off the bitmap, a word at a time, and a
run is joined to those that it touches on the lines before it: no site is looked at by itself.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, LENGTH, SLICE_ENDED, STRIDE, WRAPS, Int
from services.lattice.kernels.bits import lowest_bit
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.trees import root_of

_LINES_PER_SLICE_LOOKS = 4
"""A line is so many looks and one for every eight of its sites, about."""


class Runs(NamedTuple):
    """The runs of free sites, line by line in C order."""

    firsts: NDArray[np.int32]
    """Of shape (lines + 1,): the first run of each line."""
    starts: NDArray[np.int32]
    """Of shape (runs,): the site, by its C-order index, that each begins at."""
    ends: NDArray[np.int32]
    """Of shape (runs,): the site behind the last of each."""

    @property
    def run_count(self) -> int:
        return int(self.firsts[-1])


class Lines(NamedTuple):
    """How lines lie beside each other: the axes but the last, in lines; each int64, (axes - 1,)."""

    lengths: NDArray[np.int64]
    strides: NDArray[np.int64]
    rings: NDArray[np.int64]


class Tallies(NamedTuple):
    """What is known of each component; each of shape (components,)."""

    sizes: NDArray[np.int64]
    firsts: NDArray[np.int64]
    """Its first site by its C-order index."""
    faces: NDArray[np.uint32]
    """Two bits an axis, the last axis first: it has a site on the lower face, and on the upper."""


def labelled_runs(grid: Grid, cancel: Cancel) -> tuple[Runs, NDArray[np.int32], int]:
    """The runs, the number of each one's component, by first sites, and how many there are.

    The numbers are of shape (runs,). Raises `Cancelled`. O(sites / 64 + runs).
    """
    length, lines = _line_of(grid)
    runs, parents = _runs_of(grid, length, len(lines.lengths), cancel)
    state = np.zeros(1, np.int64)
    is_ring = bool(len(grid.kept)) and bool(grid.axes[-1, WRAPS])

    def join(budget: int) -> tuple[int, int]:
        return join_runs(runs, lines, length, is_ring, parents, state, budget)

    run_slices(join, _looks_per_line(length, len(grid.kept)), cancel)
    return runs, parents, number_roots(parents)


def tallied(grid: Grid, runs: Runs, labels: NDArray[np.int32], count: int) -> Tallies:
    """Sizes, first sites and faces of so many components. O(runs)."""
    tallies = Tallies(
        np.zeros(count, np.int64), np.full(count, -1, np.int64), np.zeros(count, np.uint32)
    )
    length, lines = _line_of(grid)
    tally(runs, lines, length, labels, tallies)
    return tallies


def spread(
    runs: Runs, labels: NDArray[np.int32], everywhere: NDArray[np.int32], cancel: Cancel
) -> None:
    """Write the number of each run's component to its sites, of shape (sites,)."""
    state = np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return spread_runs(runs, labels, everywhere, state, budget)

    run_slices(go_on, 4, cancel)


def _line_of(grid: Grid) -> tuple[int, Lines]:
    """How long a line is, and how they lie."""
    if not grid.kept:
        nothing = np.zeros(0, np.int64)
        return 1, Lines(nothing, nothing, nothing)
    length, axes = int(grid.axes[-1, LENGTH]), grid.axes[:-1]
    strides = axes[:, STRIDE] // length
    return length, Lines(axes[:, LENGTH].copy(), strides, axes[:, WRAPS].copy())


def _runs_of(
    grid: Grid, length: int, axis_count: int, cancel: Cancel
) -> tuple[Runs, NDArray[np.int32]]:
    """The runs, and each as its own parent."""
    line_count = grid.sites // length
    room = line_count * ((length + 1) // 2)
    words = np.zeros(-(-len(grid.blocked) // 8), np.uint64)
    words.view(np.uint8)[: len(grid.blocked)] = grid.blocked
    # What is not written takes no memory.
    runs = Runs(
        np.zeros(line_count + 1, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    )
    parents, state = np.empty(room, np.int32), np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return find_runs(words, length, runs, parents, state, budget)

    run_slices(go_on, _looks_per_line(length, axis_count), cancel)
    count = runs.run_count
    return Runs(runs.firsts, runs.starts[:count], runs.ends[:count]), parents[:count]


def _looks_per_line(length: int, axis_count: int) -> int:
    return _LINES_PER_SLICE_LOOKS + axis_count * length // 8


@kernel
def find_runs(
    words: NDArray[np.uint64],
    length: int,
    runs: Runs,
    parents: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to read runs off a bitmap.

    Parameters
    ----------
    words : uint64 array
        A bit per site in C order, the least significant first; a set bit blocks.
    runs, parents
        Filled in: each run is its own parent.
    state : int64 array of shape (1,)
        The next line.
    """
    done = 0
    while state[0] < runs.firsts.shape[0] - 1:
        if done == budget:
            return SLICE_ENDED, done
        line = state[0]
        run = np.int64(runs.firsts[line])
        at, end = line * length, (line + 1) * length
        while True:
            at = next_bit(words, at, end, np.uint64(0xFFFFFFFFFFFFFFFF))
            if at == end:
                break
            runs.starts[run] = at
            at = next_bit(words, at, end, np.uint64(0))
            runs.ends[run] = at
            parents[run] = run
            run += 1
        runs.firsts[line + 1] = run
        state[0] += 1
        done += 1
    return EXHAUSTED, done


@inlined
def next_bit(words: NDArray[np.uint64], at: Int, end: Int, flip: np.uint64) -> Int:
    """The first set bit from `at` on of words with these bits flipped, or `end` before it."""
    if at >= end:
        return end
    word = (words[at >> 6] ^ flip) >> np.uint64(at & 63)
    while word == np.uint64(0):
        at = (at | 63) + 1
        if at >= end:
            return end
        word = words[at >> 6] ^ flip
    return min(at + lowest_bit(word), end)


@kernel
def join_runs(
    runs: Runs,
    lines: Lines,
    length: int,
    is_ring: bool,
    parents: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to join the runs of each line to those they touch on the lines before it.

    Parameters
    ----------
    is_ring : bool
        The last site of a line is beside its first.
    parents : int32 array of shape (runs,)
        To begin, each run itself. Then sets: no parent lies behind its run.
    state : int64 array of shape (1,)
        The next line.
    """
    done = 0
    while state[0] < runs.firsts.shape[0] - 1:
        if done == budget:
            return SLICE_ENDED, done
        line = state[0]
        first, last = runs.firsts[line], runs.firsts[line + 1] - 1
        if is_ring and first < last and touches_ends(runs, first, last, line * length, length):
            join(parents, first, last)
        for axis in range(lines.lengths.shape[0]):
            at = line // lines.strides[axis] % lines.lengths[axis]
            if at > 0:
                join_lines(runs, length, parents, line, line - lines.strides[axis])
            if lines.rings[axis] != 0 and at == lines.lengths[axis] - 1:
                join_lines(runs, length, parents, line, line - at * lines.strides[axis])
        state[0] += 1
        done += 1
    return EXHAUSTED, done


@inlined
def touches_ends(runs: Runs, first: Int, last: Int, begin: Int, length: Int) -> bool:
    return bool(runs.starts[first] == begin and runs.ends[last] == begin + length)


@inlined
def join_lines(runs: Runs, length: Int, parents: NDArray[np.int32], line: Int, before: Int) -> None:
    """Join runs of a line to those of one before it that lie beside them."""
    here, there = np.int64(runs.firsts[line]), np.int64(runs.firsts[before])
    here_end, there_end = np.int64(runs.firsts[line + 1]), np.int64(runs.firsts[before + 1])
    away = (line - before) * length
    while here < here_end and there < there_end:
        end, other_end = np.int64(runs.ends[np.uint64(here)]), runs.ends[np.uint64(there)] + away
        begin, other_begin = runs.starts[np.uint64(here)], runs.starts[np.uint64(there)] + away
        if begin < other_end and other_begin < end:
            join(parents, here, there)
        # The one that ends first touches nothing more.
        here += np.int64(end <= other_end)
        there += np.int64(other_end <= end)


@inlined
def join(parents: NDArray[np.int32], one: Int, other: Int) -> None:
    # Most are joined already, and by their parents.
    if parents[np.uint64(one)] != parents[np.uint64(other)]:
        a, b = root_of(parents, one), root_of(parents, other)
        parents[max(a, b)] = min(a, b)


@kernel
def number_roots(parents: NDArray[np.int32]) -> int:
    """Write the number of its set over each run's parent: those before it have theirs."""
    count = 0
    for run in range(parents.shape[0]):
        if parents[run] == run:
            parents[run] = count
            count += 1
        else:
            parents[run] = parents[parents[run]]
    return count


@kernel
def tally(
    runs: Runs, lines: Lines, length: int, labels: NDArray[np.int32], tallies: Tallies
) -> None:
    """Add each run to its component."""
    for line in range(runs.firsts.shape[0] - 1):
        faces = np.uint32(0)
        for axis in range(lines.lengths.shape[0]):
            at = line // lines.strides[axis] % lines.lengths[axis]
            place = 2 * (lines.lengths.shape[0] - axis)
            faces |= np.uint32(at == 0) << np.uint32(place)
            faces |= np.uint32(at == lines.lengths[axis] - 1) << np.uint32(place + 1)
        begin = line * length
        for run in range(runs.firsts[line], runs.firsts[line + 1]):
            label, start, end = labels[run], runs.starts[run], runs.ends[run]
            tallies.sizes[label] += end - start
            if tallies.firsts[label] < 0:
                tallies.firsts[label] = start
            ends = np.uint32(start == begin) | np.uint32(end == begin + length) << np.uint32(1)
            tallies.faces[label] |= faces | ends


@kernel
def spread_runs(
    runs: Runs,
    labels: NDArray[np.int32],
    everywhere: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to write; `state` has shape (1,): the next run."""
    done = 0
    while state[0] < labels.shape[0]:
        if done == budget:
            return SLICE_ENDED, done
        run = state[0]
        for site in range(runs.starts[run], runs.ends[run]):
            everywhere[site] = labels[run]
        state[0] += 1
        done += 1
    return EXHAUSTED, done
