"""Breadth-first searches from many vertices: how far all others are, and what lies between."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.rows import Rows

UNSEEN = -2
"""Farther from 0 than the one before the source would be."""


class Sums(NamedTuple):
    """What searches from some sources come to; each array of shape (sources,)."""

    farness: NDArray[np.int64]
    """The sum of the distances to all that is reached."""
    harmonic: NDArray[np.float64]
    """The sum of their inverses."""
    longest: NDArray[np.int64]
    reached: NDArray[np.int64]
    """How many vertices are, the source included."""


def sum_distances(rows: Rows, sources: NDArray[np.int64], cancel: Cancel) -> Sums:
    """Search from each of some vertices. Raises `Cancelled`. O(edges) for each."""
    count = len(sources)
    sums = Sums(
        np.zeros(count, np.int64),
        np.zeros(count),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )
    distances = np.full(rows.count, -1, np.int32)
    queue, done = np.empty(rows.count, np.int32), np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return search_each(
            rows.offsets, rows.neighbours, sources, sums, distances, queue, done, budget
        )

    run_slices(go_on, len(rows.neighbours) + rows.count, cancel)
    return sums


@kernel
def search_each(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    sources: NDArray[np.int64],
    sums: Sums,
    distances: NDArray[np.int32],
    queue: NDArray[np.int32],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with one source after the other.

    Parameters
    ----------
    distances, queue : int32 arrays of shape (vertices,)
        Scratch. To begin, and after each source, distances are -1.
    done : int64 array of shape (1,)
        How many sources are done.
    budget : int
        How many sources to search from before returning SLICE_ENDED, >= 1.
    """
    searched = 0
    while done[0] < sources.shape[0]:
        if searched == budget:
            return SLICE_ENDED, searched
        place = done[0]
        source = sources[place]
        distances[source] = 0
        queue[0] = source
        head, tail = 0, 1
        farness, harmonic = 0, 0.0
        while head < tail:
            vertex = queue[head]
            head += 1
            length = distances[vertex]
            farness += length
            if length > 0:
                harmonic += 1.0 / length
            for entry in range(offsets[vertex], offsets[vertex + 1]):
                near = neighbours[entry]
                if distances[near] < 0:
                    distances[near] = length + 1
                    queue[tail] = near
                    tail += 1
        sums.farness[place], sums.harmonic[place] = farness, harmonic
        sums.longest[place], sums.reached[place] = distances[queue[tail - 1]], tail
        for entry in range(tail):
            distances[queue[entry]] = -1
        done[0] += 1
        searched += 1
    return EXHAUSTED, searched


def betweenness(rows: Rows, sources: NDArray[np.int64], cancel: Cancel) -> NDArray[np.float64]:
    """Of all vertices, over unordered pairs (Brandes 2001): what searches from `sources` add to it.

    Summed over any division of all vertices it is the betweenness. Raises `Cancelled`.
    O(sources * edges).
    """
    totals = np.zeros(rows.count)
    distances = np.full(rows.count, UNSEEN, np.int32)
    counts, shares = np.zeros(rows.count), np.zeros(rows.count)
    # What is pushed and turns out to be known already is written, and written over.
    queue, done = np.empty(rows.count + 1, np.int32), np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return add_betweenness(
            rows.offsets,
            rows.neighbours,
            sources,
            totals,
            distances,
            counts,
            shares,
            queue,
            done,
            budget,
        )

    run_slices(go_on, 2 * (len(rows.neighbours) + rows.count), cancel)
    return totals / 2


@kernel
def add_betweenness(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    sources: NDArray[np.int64],
    totals: NDArray[np.float64],
    distances: NDArray[np.int32],
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    queue: NDArray[np.int32],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to add what each source finds others to lie between, over ordered pairs.

    Both ways over the edges every vertex reads its neighbours and writes itself alone, without a
    branch on what it finds: which edges lead onward is as good as random to the machine.

    Parameters
    ----------
    totals : float64 array of shape (vertices,)
        To begin, 0.
    distances, counts, shares : arrays of shape (vertices,)
        Scratch. To begin, distances are UNSEEN.
    queue : int32 array of shape (vertices + 1,)
        Scratch.
    done : int64 array of shape (1,)
        How many sources are done.
    budget : int
        How many sources to search from before returning SLICE_ENDED, >= 1.
    """
    searched = 0
    while done[0] < sources.shape[0]:
        if searched == budget:
            return SLICE_ENDED, searched
        tail = count_paths(offsets, neighbours, sources[done[0]], distances, counts, queue)
        add_shares(offsets, neighbours, totals, distances, counts, shares, queue, tail)
        for entry in range(tail):
            distances[np.uint64(queue[entry])] = UNSEEN
        done[0] += 1
        searched += 1
    return EXHAUSTED, searched


@inlined
def count_paths(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    source: Int,
    distances: NDArray[np.int32],
    counts: NDArray[np.float64],
    queue: NDArray[np.int32],
) -> Int:
    """Search from a source and count the shortest paths to each; answer how many are reached.

    A vertex that is taken from the queue has all before it counted: it sums theirs.
    """
    distances[source], counts[source] = 0, 1.0
    queue[0] = source
    head, tail = 0, np.int64(1)
    while head < tail:
        vertex = np.uint64(queue[np.uint64(head)])
        length = distances[vertex]
        sum_before = np.float64(head == 0)
        head += 1
        for entry in range(np.uint64(offsets[vertex]), np.uint64(offsets[vertex + np.uint64(1)])):
            near = np.uint64(neighbours[entry])
            known = distances[near]
            is_new = known < 0
            queue[np.uint64(tail)] = near
            tail += np.int64(is_new)
            distances[near] = length + 1 if is_new else known
            sum_before += counts[near] if known == length - 1 else 0.0
        counts[vertex] = sum_before
    return tail


@inlined
def add_shares(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    totals: NDArray[np.float64],
    distances: NDArray[np.int32],
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    queue: NDArray[np.int32],
    tail: Int,
) -> None:
    """Add to each vertex the share of paths to those behind it that pass it, the last first.

    `shares` has what each hands to a path that leads to it: its own and what it passes on, by how
    many paths there are.
    """
    for back in range(tail - 1, 0, -1):
        vertex = np.uint64(queue[np.uint64(back)])
        length = distances[vertex]
        behind = 0.0
        for entry in range(np.uint64(offsets[vertex]), np.uint64(offsets[vertex + np.uint64(1)])):
            near = np.uint64(neighbours[entry])
            behind += shares[near] if distances[near] == length + 1 else 0.0
        passed = behind * counts[vertex]
        totals[vertex] += passed
        shares[vertex] = (1.0 + passed) / counts[vertex]
