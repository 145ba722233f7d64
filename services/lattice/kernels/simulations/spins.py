"""Spins of q states on any graph: Metropolis one after the other, and the clusters of Wolff.

The energy is -1 for each pair of neighbours in the same state (Potts). Spins of Ising are two
states at half of their temperature.
"""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.simulations.random import FIRST_HALF, Bits, counter, philox, unit


@kernel
def turn_in_order(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    spins: NDArray[np.uint8],
    states: int,
    chances: NDArray[np.float64],
    seed: int,
    step: int,
    first: int,
    last: int,
) -> None:
    """Offer the vertices from `first` to before `last` another state once, in that order.

    `chances` has exp(-k / T) at k, up to the largest degree. 10 to 30 ns a vertex.
    """
    high = counter(step, FIRST_HALF)
    for vertex in range(first, last):
        which, chance = philox(np.uint64(seed), high, np.uint64(vertex))
        spin = np.int64(spins[vertex])
        other = np.int64((which >> np.uint64(32)) * np.uint64(states - 1) >> np.uint64(32))
        if other >= spin:
            other += 1
        breaks = 0
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            near = np.int64(spins[neighbours[entry]])
            if near == spin:
                breaks += 1
            elif near == other:
                breaks -= 1
        if breaks <= 0 or unit(chance) < chances[breaks]:
            spins[vertex] = other


@kernel
def turn_clusters(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    spins: NDArray[np.uint8],
    states: int,
    chance: float,
    seed: int,
    step: int,
    step_count: int,
    budget: int,
    stack: NDArray[np.int32],
    sums: NDArray[np.int64],
) -> int:
    """Turn up to `step_count` clusters, or fewer once `budget` spins are; how many it were.

    A neighbour in the same state joins with the probability `chance`, 1 - exp(-1 / T). `stack`
    has room for all vertices; `sums[0]` becomes the size of the last cluster. 10 to 40 ns a spin.
    """
    turned = 0
    for done in range(step_count):
        if turned >= budget:
            return done
        high = counter(step + done, FIRST_HALF)
        draw: Bits = np.uint64(0)
        start, which = philox(np.uint64(seed), high, draw)
        begin = np.int64((start >> np.uint64(32)) * np.uint64(spins.shape[0]) >> np.uint64(32))
        spin = spins[begin]
        other = np.int64((which >> np.uint64(32)) * np.uint64(states - 1) >> np.uint64(32))
        if other >= np.int64(spin):
            other += 1
        spins[begin] = other
        stack[0] = begin
        filled, size, has_second = 1, 1, False
        second: Bits = np.uint64(0)
        while filled:
            filled -= 1
            vertex = stack[filled]
            for entry in range(offsets[vertex], offsets[vertex + 1]):
                near = neighbours[entry]
                if spins[near] != spin:
                    continue
                if has_second:
                    bits = second
                    has_second = False
                else:
                    draw += np.uint64(1)
                    bits, second = philox(np.uint64(seed), high, draw)
                    has_second = True
                if unit(bits) < chance:
                    spins[near] = other
                    stack[filled] = near
                    filled += 1
                    size += 1
        sums[0] = size
        turned += size
    return step_count


@kernel
def measure_spins(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    spins: NDArray[np.uint8],
    counts: NDArray[np.int64],
) -> int:
    """How many pairs of neighbours are in the same state; `counts` (states,) become how many
    spins are in each. 5 ns an edge."""
    counts[:] = 0
    same = 0
    for vertex in range(spins.shape[0]):
        spin = spins[vertex]
        counts[spin] += 1
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            if spins[neighbours[entry]] == spin:
                same += 1
    return same // 2
