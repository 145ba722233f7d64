"""Connected components: their labels and sizes, and which lead across or around the lattice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, LENGTH, SLICE_ENDED, STRIDE, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.lines import labelled_runs, spread, tallied
from services.lattice.kernels.weighted.costs import free_sites
from services.lattice.kernels.weighted.ways import Ways, list_ways

NEW = -2
BLOCKED = -1


@dataclass(frozen=True, eq=False)
class Clusters:
    """The components of a lattice, numbered by their first site in C order."""

    labels: NDArray[np.int32]
    """Of shape (sites,): 0 and up, BLOCKED where blocked. Of shape (0,) where nobody wants them."""
    sizes: NDArray[np.int64]
    """Of shape (components,)."""
    firsts: NDArray[np.int64]
    """Of shape (components,): the first site of each by its C-order index."""
    spanning: NDArray[np.bool_]
    """Of shape (components, axes): it has sites on both faces of an axis."""
    wrapping: NDArray[np.bool_]
    """Of shape (components, axes): it leads around a ring, back to where it began."""

    @property
    def count(self) -> int:
        return len(self.sizes)

    @property
    def bytes_held(self) -> int:
        arrays = (self.labels, self.sizes, self.firsts, self.spanning, self.wrapping)
        return sum(array.nbytes for array in arrays)


def clusters_of(grid: Grid, cancel: Cancel, *, is_labelled: bool = True) -> Clusters:
    """Find all components, without the labels of their sites unless `is_labelled`.

    Raises `Cancelled`. O(sites / 64 + runs), O(sites * steps) where steps cut corners, and that
    again for each ring.
    """
    # Where they do not, the box of a step along several axes is free: single steps lead there.
    by_runs = not (grid.diagonal and not grid.no_cutting)
    rings = [place for place in range(len(grid.kept)) if grid.axes[place, 2]]
    label = _by_runs if by_runs else _flooded
    clusters = label(grid, cancel, is_labelled=is_labelled or bool(rings))
    for place in rings:
        wraps, _ = winding(grid, clusters.labels, clusters.count, place, cancel)
        clusters.wrapping[:, grid.kept[place]] = wraps
    return clusters


def _by_runs(grid: Grid, cancel: Cancel, *, is_labelled: bool) -> Clusters:
    runs, numbers, count = labelled_runs(grid, cancel)
    tallies = tallied(grid, runs, numbers, count)
    labels = np.full(grid.sites if is_labelled else 0, BLOCKED, np.int32)
    if is_labelled:
        spread(runs, numbers, labels, cancel)
    # An axis of one site has both faces at each.
    spanning = np.ones((count, len(grid.shape)), np.bool_)
    for place, axis in enumerate(reversed(grid.kept)):
        spanning[:, axis] = tallies.faces >> (2 * place) & 3 == 3
    wrapping = np.zeros(spanning.shape, np.bool_)
    return Clusters(labels, tallies.sizes, tallies.firsts, spanning, wrapping)


def _flooded(grid: Grid, cancel: Cancel, *, is_labelled: bool) -> Clusters:
    """One component after the other; there are labels in any case."""
    del is_labelled
    labels = np.where(free_sites(grid), np.int32(NEW), np.int32(BLOCKED))
    queue, state = np.empty(grid.sites, np.int32), np.zeros(4, np.int64)
    ways = Ways.on(grid)

    def go_on(budget: int) -> tuple[int, int]:
        return flood(ways, labels, queue, state, budget)

    run_slices(go_on, len(ways.steps.sites), cancel)
    count = int(state[LABEL])
    sizes = np.bincount(labels[labels >= 0], minlength=count).astype(np.int64)
    highest = np.maximum.accumulate(labels)
    firsts = np.flatnonzero(labels > np.concatenate(([BLOCKED], highest[:-1])))
    axes = range(len(grid.shape))
    across = [_spanning(labels.reshape(grid.shape), axis, count) for axis in axes]
    spanning = np.stack(across, axis=1)
    return Clusters(labels, sizes, firsts, spanning, np.zeros(spanning.shape, np.bool_))


def bytes_to_cluster(grid: Grid) -> int:
    """The most bytes that `clusters_of` takes."""
    return grid.sites * (4 + 4 + 4 + 8 + 2 * len(grid.shape) + 8)


def _spanning(labels: NDArray[np.int32], axis: int, count: int) -> NDArray[np.bool_]:
    faces = [
        np.bincount(face[face >= 0], minlength=count) > 0
        for face in (labels.take(at, axis=axis).reshape(-1) for at in (0, labels.shape[axis] - 1))
    ]
    both: NDArray[np.bool_] = faces[0] & faces[1]
    return both


def winding(
    grid: Grid,
    labels: NDArray[np.int32],
    count: int,
    axis: int,
    cancel: Cancel,
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Which components lead around a ring, and how often the way to each site does.

    The axis is one that the grid keeps, by its place. Ways begin at the first site of each
    component; where it leads around they say nothing. Raises `Cancelled`.
    """
    ways, queue = Ways.on(grid), np.empty(grid.sites, np.int32)
    turns = np.full(len(labels), UNKNOWN, np.int32)
    wraps, state = np.zeros(count, np.uint8), np.zeros(4, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return wind(ways, axis, labels, turns, wraps, queue, state, budget)

    run_slices(go_on, len(ways.steps.sites), cancel)
    return wraps.astype(np.bool_), turns


UNKNOWN = np.iinfo(np.int32).min
HEAD = 0
TAIL = 1
NEXT = 2
LABEL = 3


@kernel
def flood(
    ways: Ways,
    labels: NDArray[np.int32],
    queue: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with labelling: each new site begins a component, which is flooded from there.

    Parameters
    ----------
    labels : int32 array of shape (sites,)
        To begin, NEW or BLOCKED.
    queue : int32 array of shape (sites,)
        Scratch, kept from call to call.
    state : int64 array of shape (4,)
        How many of the queue were expanded and are in it, the next site to look at, and how
        many components there are.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.
    """
    expanded = 0
    while True:
        while state[HEAD] < state[TAIL]:
            if expanded == budget:
                return SLICE_ENDED, expanded
            site = int(queue[state[HEAD]])
            state[HEAD] += 1
            expanded += 1
            for entry in range(1, list_ways(ways, site)):
                near = ways.steps.sites[entry]
                if labels[near] == NEW:
                    labels[near] = labels[site]
                    queue[state[TAIL]] = near
                    state[TAIL] += 1
        place = state[NEXT]
        while place < labels.shape[0] and labels[place] != NEW:
            place += 1
        state[NEXT] = place
        if place == labels.shape[0]:
            return EXHAUSTED, expanded
        labels[place] = state[LABEL]
        state[LABEL] += 1
        queue[state[TAIL]] = place
        state[TAIL] += 1


@kernel
def wind(
    ways: Ways,
    axis: int,
    labels: NDArray[np.int32],
    turns: NDArray[np.int32],
    wraps: NDArray[np.uint8],
    queue: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to find the components that lead around an axis.

    Each site is told how often the way to it went around. Where two ways went around differently
    often, the component leads around.

    Parameters
    ----------
    turns : int32 array of shape (sites,)
        To begin, UNKNOWN.
    wraps : uint8 array of shape (components,)
        Filled in.
    queue, state, budget
        As in `flood`.
    """
    length = ways.lattice.axes[axis, LENGTH]
    stride = ways.lattice.axes[axis, STRIDE]
    expanded = 0
    while True:
        while state[HEAD] < state[TAIL]:
            if expanded == budget:
                return SLICE_ENDED, expanded
            site = int(queue[state[HEAD]])
            state[HEAD] += 1
            expanded += 1
            at = site // stride % length
            for entry in range(1, list_ways(ways, site)):
                near = ways.steps.sites[entry]
                turn = turns[site] + around(at, near // stride % length)
                if turns[near] == UNKNOWN:
                    turns[near] = turn
                    queue[state[TAIL]] = near
                    state[TAIL] += 1
                elif turns[near] != turn:
                    wraps[labels[site]] = 1
        place = state[NEXT]
        while place < labels.shape[0] and (labels[place] < 0 or turns[place] != UNKNOWN):
            place += 1
        state[NEXT] = place
        if place == labels.shape[0]:
            return EXHAUSTED, expanded
        turns[place] = 0
        queue[state[TAIL]] = place
        state[TAIL] += 1


@inlined
def around(at: Int, to: Int) -> Int:
    """How often a step along a ring leads around it: 1, -1 or not."""
    if at - to > 1:
        return 1
    return -1 if to - at > 1 else 0
