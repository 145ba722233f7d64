"""The same on any lattice and with any costs: neither padding nor buckets, but a heap."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, REACHED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.weighted.heap import Heap, sift_in, sift_out
from services.lattice.kernels.weighted.ways import Ways, list_ways, step_back


@kernel
def search_stepped(
    ways: Ways,
    costs: NDArray[np.float64],
    shares: NDArray[np.float64],
    lengths: NDArray[np.float64],
    parents: NDArray[np.uint16],
    heap: Heap,
    goal: int,
    length_max: float,
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm.

    Parameters
    ----------
    costs : float64 array of shape (sites,)
        0 or more.
    shares : float64 array of shape (d + 1, 2)
        As in `masked.search_masked`, by the number of axes that a step moves on.
    lengths : float64 array of shape (sites,)
        To begin, those of the sources, infinite elsewhere.
    parents : uint16 array of shape (sites,) or (0,)
        The code of the step that came to each site that was reached, if wanted; 0 at sources.
    heap : Heap
        To begin, the sources by their lengths.
    goal, length_max, budget
        As in `straight.search_costs`.
    """
    expanded = 0
    while heap.size[0] > 0:
        if heap.size[0] + ways.steps.sites.shape[0] > heap.keys.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        key = heap.keys[0]
        site = sift_out(heap)
        if key > lengths[site]:
            continue
        if site == goal:
            return REACHED, expanded
        expanded += 1
        for entry in range(1, list_ways(ways, site)):
            near, kind = ways.steps.sites[entry], ways.steps.kinds[entry]
            length = key + shares[kind, 0] * costs[site] + shares[kind, 1] * costs[near]
            if length < lengths[near] and length <= length_max:
                lengths[near] = length
                if parents.shape[0] > 0:
                    parents[near] = ways.steps.codes[entry]
                sift_in(heap, length, near)
    return EXHAUSTED, expanded


@kernel
def trace_stepped(
    ways: Ways, parents: NDArray[np.uint16], site: int, codes: NDArray[np.int64]
) -> int:
    """Write the codes of the steps that came to a site, the last first; answer how many."""
    count = 0
    while parents[site]:
        code = np.int64(parents[site])
        if count < codes.shape[0]:
            codes[count] = code
        count += 1
        site = step_back(ways, site, code)
    return count
