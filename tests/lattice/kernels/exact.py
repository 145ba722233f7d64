"""Lengths in whole numbers of two hundred digits, and a lattice whose paths are almost as long."""

import heapq
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.lattice.kernels.reference import Plain, Site

BITS = 640


def exact_cost(kind: int) -> int:
    """What a step along so many axes costs, in units of 2^-640."""
    return math.isqrt(kind << 2 * BITS)


def exact_length(kinds: Sequence[int]) -> int:
    """The length of a path, by how many of its steps move on 0, 1, ... axes."""
    return sum(count * exact_cost(kind) for kind, count in enumerate(kinds))


def nearest_double(length: int) -> float:
    return length / (1 << BITS)


def exact_distances(lattice: Plain, sources: Sequence[Site]) -> dict[Site, int]:
    """Dijkstra's algorithm as in a textbook, on whole numbers."""
    costs = [exact_cost(kind) for kind in range(len(lattice.shape) + 1)]
    lengths = dict.fromkeys(sources, 0)
    heap = [(0, source) for source in sources]
    while heap:
        length, site = heapq.heappop(heap)
        if length > lengths[site]:
            continue
        for near, cost in lattice.neighbours(site).items():
            total = length + costs[round(cost**2)]
            if near not in lengths or total < lengths[near]:
                lengths[near] = total
                heapq.heappush(heap, (total, near))
    return lengths


def near_tie() -> tuple[NDArray[np.bool_], Site, Site]:
    """Blocked sites with two ways from a start to a goal, where corners may be cut.

    One zigzags along 115,849 diagonal steps. The other takes 161,564 straight ones and 1,606
    diagonal ones, and is shorter, by 2 parts in 10^11: it winds down and up again 401 times.
    """
    windings, depth = 401, 61
    columns = 114_243 + 2 + 4 * windings
    blocked = np.ones((depth + 4, columns + 1), bool)
    evens = np.arange(columns + 1) % 2 == 0
    blocked[1, evens] = blocked[0, ~evens] = False
    blocked[1:4, [0, columns]] = False
    blocked[3] = False
    for first in range(100, 100 + 280 * windings, 280):
        blocked[3, first + 1] = True
        blocked[3:, [first, first + 2]] = False
        blocked[-1, first + 1] = False
    return blocked, (1, 0), (0, columns)
