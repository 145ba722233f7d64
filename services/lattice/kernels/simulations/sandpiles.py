"""The abelian sandpile of Bak, Tang and Wiesenfeld on a graph with somewhere to lose grains."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import Untyped, kernel
from services.lattice.kernels.simulations.random import FIRST_HALF, counter, philox

TOPPLINGS, LOST, GRAINS = 0, 1, 2
"""Where `sums` has the topplings of the last step, grains lost and grains there."""


@kernel
def drop_grains(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    heights: NDArray[np.int32],
    limit: int,
    drop: int,
    seed: int,
    step: int,
    step_count: int,
    budget: int,
    stack: NDArray[np.int32],
    sums: NDArray[np.int64],
) -> int:
    """Let up to `step_count` grains fall, or fewer once `budget` topplings are done; how many.

    A vertex of `limit` grains topples. `drop` is where they fall, or -1 for anywhere; `stack` has
    room for all vertices, `sums` shape (3,). 5 ns a grain that moves.
    """
    toppled = 0
    for done in range(step_count):
        if toppled >= budget:
            return done
        begin: Untyped = drop
        if drop < 0:
            bits, _ = philox(np.uint64(seed), counter(step + done, FIRST_HALF), np.uint64(0))
            begin = np.int64((bits >> np.uint64(32)) * np.uint64(heights.shape[0]) >> np.uint64(32))
        heights[begin] += 1
        sums[GRAINS] += 1
        filled, topplings = 0, 0
        if heights[begin] >= limit:
            stack[0] = begin
            filled = 1
        while filled:
            filled -= 1
            vertex = stack[filled]
            times = heights[vertex] // limit
            heights[vertex] -= times * limit
            topplings += times
            kept = np.int64(0)
            for entry in range(offsets[vertex], offsets[vertex + 1]):
                near = neighbours[entry]
                before = heights[near]
                heights[near] = before + times
                kept += times
                if before < limit and before + times >= limit:
                    stack[filled] = near
                    filled += 1
            sums[LOST] += times * limit - kept
            sums[GRAINS] -= times * limit - kept
        sums[TOPPLINGS] = topplings
        toppled += topplings
    return step_count
