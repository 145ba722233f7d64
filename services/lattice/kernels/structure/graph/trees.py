"""Spanning trees: the cheapest, and the logarithm of how many there are."""

import math

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.rows import Rows


@inlined
def root_of(parents: NDArray[np.int32], vertex: Int) -> Int:
    """The root of a vertex's set; the way there is halved."""
    while parents[vertex] != vertex:
        parents[vertex] = parents[parents[vertex]]
        vertex = parents[vertex]
    return vertex


def cheapest_tree(rows: Rows, costs: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """A spanning forest of least cost: its edges as pairs of vertices, (n, 2), and the cost.

    An edge costs the mean of both its ends. Kruskal's algorithm: O(edges log edges). Of edges
    that cost the same the one between the first sites comes first.
    """
    tails = np.repeat(np.arange(rows.count), rows.degrees)
    heads = rows.neighbours.astype(np.int64)
    once = tails < heads
    tails, heads = tails[once], heads[once]
    prices = (costs[tails] + costs[heads]) / 2
    order = np.argsort(prices, kind="stable")
    parents, chosen = np.arange(rows.count, dtype=np.int32), np.zeros(len(order), np.uint8)
    join_cheapest(tails[order], heads[order], parents, chosen)
    kept = np.sort(order[chosen.astype(bool)])
    return np.stack((tails[kept], heads[kept]), axis=1), math.fsum(prices[kept])


@kernel
def join_cheapest(
    tails: NDArray[np.int64],
    heads: NDArray[np.int64],
    parents: NDArray[np.int32],
    chosen: NDArray[np.uint8],
) -> None:
    """Set `chosen` of each edge that joins what those before did not."""
    for edge in range(tails.shape[0]):
        a, b = root_of(parents, tails[edge]), root_of(parents, heads[edge])
        if a != b:
            parents[max(a, b)] = min(a, b)
            chosen[edge] = 1


def bandwidth(rows: Rows) -> int:
    """How far apart the numbers of two neighbours are, at most."""
    tails = np.repeat(np.arange(rows.count), rows.degrees)
    return int(np.abs(tails - rows.neighbours).max(initial=0))


def log_spanning_trees(rows: Rows, labels: NDArray[np.int32], cancel: Cancel) -> float:
    """The natural logarithm of the number of spanning forests with a tree a component.

    The product of the pivots of the Laplacian without a vertex of each component, by Cholesky's
    factorisation in a band: O(vertices * bandwidth^2). Raises `Cancelled`.
    """
    width = bandwidth(rows)
    _, firsts = np.unique(labels, return_index=True)
    grounded = np.zeros(rows.count, np.uint8)
    grounded[firsts] = 1
    band = np.zeros((rows.count, width + 1))
    fill_band(rows.offsets, rows.neighbours, grounded, band)
    done, logs = np.zeros(1, np.int64), np.zeros(1)

    def go_on(budget: int) -> tuple[int, int]:
        return factorise(band, done, logs, budget)

    run_slices(go_on, max(1, width * width), cancel)
    return float(logs[0])


@kernel
def fill_band(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    grounded: NDArray[np.uint8],
    band: NDArray[np.float64],
) -> None:
    """Fill in the lower half of the Laplacian: row i has (i, i - k) at k. Grounded rows are 1."""
    for vertex in range(band.shape[0]):
        if grounded[vertex]:
            band[vertex, 0] = 1.0
            continue
        band[vertex, 0] = offsets[vertex + 1] - offsets[vertex]
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            near = neighbours[entry]
            if near < vertex and not grounded[near]:
                band[vertex, vertex - near] = -1.0


@kernel
def factorise(
    band: NDArray[np.float64], done: NDArray[np.int64], logs: NDArray[np.float64], budget: int
) -> tuple[int, int]:
    """Go on with L D L^T of a band, row by row, and add up the logarithms of D in `logs`."""
    width, rows = band.shape[1] - 1, 0
    while done[0] < band.shape[0]:
        if rows == budget:
            return SLICE_ENDED, rows
        i = done[0]
        first = max(0, i - width)
        for j in range(first, i):
            # Here L(i, j) D(j), from the rows above.
            total = band[i, i - j]
            for k in range(max(first, j - width), j):
                total -= band[i, i - k] * band[j, j - k]
            band[i, i - j] = total
        pivot = band[i, 0]
        for j in range(first, i):
            scaled = band[i, i - j] / band[j, 0]
            pivot -= band[i, i - j] * scaled
            band[i, i - j] = scaled
        band[i, 0] = pivot
        logs[0] += np.log(pivot)
        done[0] += 1
        rows += 1
    return EXHAUSTED, rows
