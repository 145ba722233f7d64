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
    count = rows.count
    totals, distances = np.zeros(count), np.full(count, UNSEEN, np.int32)
    # What is written to a queue and turns out not to belong there is written over.
    way = Way(
        queue=np.empty(count + 1, np.int32),
        counts=np.zeros(count),
        passed=np.zeros(count),
        before=np.empty(len(rows.neighbours) // 2 + 1, np.int32),
        ends=np.empty(count, np.int32),
    )
    done = np.zeros(1, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return add_betweenness(
            rows.offsets, rows.neighbours, sources, totals, distances, way, done, budget
        )

    run_slices(go_on, 2 * (len(rows.neighbours) + count), cancel)
    return totals / 2


def bytes_to_search(sites: int, edges: int) -> int:
    """The most bytes that `betweenness` and `sum_distances` take beside the rows."""
    return 40 * sites + 4 * edges


class Way(NamedTuple):
    """What one search leaves behind for the way back; scratch."""

    queue: NDArray[np.int32]
    """Of shape (vertices + 1,): what is reached, the nearest first."""
    counts: NDArray[np.float64]
    """Of shape (vertices,): how many shortest paths lead to each."""
    passed: NDArray[np.float64]
    """Of shape (vertices,): the share of the paths to those behind it that pass each."""
    before: NDArray[np.int32]
    """Of shape (edges + 1,): which neighbours come before, in the order of the queue."""
    ends: NDArray[np.int32]
    """Of shape (vertices,): where those of each end in `before`, in the order of the queue."""


@kernel
def add_betweenness(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    sources: NDArray[np.int64],
    totals: NDArray[np.float64],
    distances: NDArray[np.int32],
    way: Way,
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to add what each source finds others to lie between, over ordered pairs.

    Parameters
    ----------
    totals : float64 array of shape (vertices,)
        To begin, 0.
    distances : int32 array of shape (vertices,)
        Scratch. To begin, and after each source, UNSEEN.
    done : int64 array of shape (1,)
        How many sources are done.
    budget : int
        How many sources to search from before returning SLICE_ENDED, >= 1.
    """
    searched = 0
    while done[0] < sources.shape[0]:
        if searched == budget:
            return SLICE_ENDED, searched
        source = sources[done[0]]
        tail = count_paths(offsets, neighbours, source, distances, way)
        add_shares(totals, distances, way, tail)
        distances[source] = UNSEEN
        done[0] += 1
        searched += 1
    return EXHAUSTED, searched


@inlined
def count_paths(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    source: Int,
    distances: NDArray[np.int32],
    way: Way,
) -> Int:
    """Search from a source and count the shortest paths to each; answer how many are reached.

    A vertex that is taken from the queue has all before it counted: it sums theirs. There is no
    branch on what a neighbour is: that is as good as random to the machine.
    """
    distances[source], way.counts[source] = 0, 1.0
    way.queue[0] = source
    head, tail, end = 0, np.int64(1), np.int64(0)
    while head < tail:
        vertex = np.uint64(way.queue[np.uint64(head)])
        length = distances[vertex]
        count = np.float64(head == 0)
        for entry in range(np.uint64(offsets[vertex]), np.uint64(offsets[vertex + np.uint64(1)])):
            near = np.uint64(neighbours[entry])
            known = distances[near]
            is_new, is_before = known < 0, known == length - 1
            way.queue[np.uint64(tail)] = near
            tail += np.int64(is_new)
            distances[near] = length + 1 if is_new else known
            way.before[np.uint64(end)] = near
            end += np.int64(is_before)
            count += way.counts[near] if is_before else 0.0
        way.counts[vertex], way.passed[vertex] = count, 0.0
        way.ends[np.uint64(head)] = end
        head += 1
    return tail


@inlined
def add_shares(
    totals: NDArray[np.float64], distances: NDArray[np.int32], way: Way, tail: Int
) -> None:
    """Hand from each vertex to those before it the paths that pass them, the last first."""
    for back in range(tail - 1, 0, -1):
        vertex = np.uint64(way.queue[np.uint64(back)])
        passed = way.passed[vertex]
        totals[vertex] += passed
        onward = (1.0 + passed) / way.counts[vertex]
        distances[vertex] = UNSEEN
        first, end = way.ends[np.uint64(back - 1)], way.ends[np.uint64(back)]
        for entry in range(np.uint64(first), np.uint64(end)):
            near = np.uint64(way.before[entry])
            way.passed[near] += way.counts[near] * onward
