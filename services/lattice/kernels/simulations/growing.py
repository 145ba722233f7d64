"""Clusters that grow from one vertex: Leath's, and invasion percolation."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import Untyped, inlined, kernel
from services.lattice.kernels.simulations.random import START, counter, philox, unit

OUTSIDE = 0
TOUCHED = -1
"""What `joined` has of vertices that no neighbour has joined, and of those only touched."""

SIZE, TOUCHED_COUNT, EDGE = 0, 1, 2
"""Where `sums` has how many joined, were touched, and are in the shell or the heap."""


@kernel
def grow_shells(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    joined: NDArray[np.int32],
    chance: float,
    seed: int,
    step: int,
    step_count: int,
    shell: NDArray[np.int32],
    scratch: NDArray[np.int32],
    sums: NDArray[np.int64],
) -> None:
    """Add some shells: of the vertices beside the last those that are open. 20 ns a vertex.

    `joined` has the step in which each joined, counted from 1; `shell` and `scratch` have room for
    all vertices, `sums` shape (3,).
    """
    high = counter(0, START)
    for now in range(step, step + step_count):
        filled = np.int64(0)
        for place in range(sums[EDGE]):
            vertex = shell[place]
            for entry in range(offsets[vertex], offsets[vertex + 1]):
                near = neighbours[entry]
                if joined[near] != OUTSIDE:
                    continue
                bits, _ = philox(np.uint64(seed), high, np.uint64(near))
                sums[TOUCHED_COUNT] += 1
                if unit(bits) < chance:
                    joined[near] = now + 2
                    scratch[filled] = near
                    filled += 1
                else:
                    joined[near] = TOUCHED
        for place in range(filled):
            shell[place] = scratch[place]
        sums[SIZE] += filled
        sums[EDGE] = filled
        if filled == 0:
            return


@inlined
def _push(heap: NDArray[np.int32], keys: NDArray[np.uint64], filled: int, vertex: int) -> None:
    """Add a vertex to a heap of so many, the lowest key first."""
    place = filled
    while place > 0:
        parent = (place - 1) >> 1
        if keys[heap[parent]] <= keys[vertex]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = vertex


@inlined
def _pop(heap: NDArray[np.int32], keys: NDArray[np.uint64], filled: int) -> Untyped:
    """Take the lowest vertex out of a heap of so many."""
    lowest = heap[0]
    moved = heap[filled - 1]
    place, count = 0, filled - 1
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and keys[heap[child + 1]] < keys[heap[child]]:
            child += 1
        if keys[moved] <= keys[heap[child]]:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = moved
    return lowest


@kernel
def draw_keys(seed: int, keys: NDArray[np.uint64]) -> None:
    """Fill `keys` with the random numbers of the vertices. 5 ns each."""
    high = counter(0, START)
    for vertex in range(keys.shape[0]):
        keys[vertex], _ = philox(np.uint64(seed), high, np.uint64(vertex))


@kernel
def invade(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    joined: NDArray[np.int32],
    keys: NDArray[np.uint64],
    step: int,
    step_count: int,
    heap: NDArray[np.int32],
    sums: NDArray[np.int64],
) -> None:
    """Let the lowest of the vertices touched join, one a step. 100 ns each.

    `heap` holds sums[EDGE] vertices; the rest as in `grow_shells`.
    """
    for now in range(step, step + step_count):
        if sums[EDGE] == 0:
            return
        vertex = _pop(heap, keys, sums[EDGE])
        sums[EDGE] -= 1
        joined[vertex] = now + 2
        sums[SIZE] += 1
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            near = neighbours[entry]
            if joined[near] == OUTSIDE:
                joined[near] = TOUCHED
                _push(heap, keys, sums[EDGE], near)
                sums[EDGE] += 1
                sums[TOUCHED_COUNT] += 1
