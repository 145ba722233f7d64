"""Spanning trees: the cheapest, and the logarithm of how many there are."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import Cancel, Cancelled, run_slices
from services.lattice.kernels.structure.graph.rows import Rows

BYTES_PER_EDGE = 41
"""What `cheapest_tree` takes beside the graph."""
_LOOKS_PER_EDGE = 4
_VALUES_AT_ONCE = 1 << 14


@inlined
def root_of(parents: NDArray[np.int32], vertex: Int) -> Int:
    """The root of a vertex's set; the way there is halved."""
    while parents[vertex] != vertex:
        parents[vertex] = parents[parents[vertex]]
        vertex = parents[vertex]
    return vertex


def cheapest_tree(
    rows: Rows, costs: NDArray[np.float64], cancel: Cancel
) -> tuple[NDArray[np.int32], float]:
    """A spanning forest of least cost: its edges as pairs of vertices, (n, 2), and the cost.

    An edge costs the mean of both its ends, which are 0 or more. Kruskal's algorithm: O(edges).
    Of edges that cost the same the one between the first sites comes first. Raises `Cancelled`.
    """
    edge_count = len(rows.neighbours) // 2
    ends, prices = np.empty((edge_count, 2), np.int32), np.empty(edge_count)
    done = np.zeros(2, np.int64)
    arrays = (rows.offsets, rows.neighbours, costs, ends, prices)
    run_slices(lambda budget: list_edges(*arrays, done, budget), _LOOKS_PER_EDGE, cancel)
    order = rising(prices, cancel)
    parents, chosen = np.arange(rows.count, dtype=np.int32), np.zeros(edge_count, np.bool_)
    done[:] = 0
    run_slices(
        lambda budget: join_cheapest(ends, order, parents, chosen, done, budget),
        _LOOKS_PER_EDGE,
        cancel,
    )
    return ends[chosen], math.fsum(one_by_one(prices[chosen], cancel))


@kernel
def list_edges(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    costs: NDArray[np.float64],
    ends: NDArray[np.int32],
    prices: NDArray[np.float64],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to write each edge once, from its lower end, and what it costs.

    `done` has shape (2,): of how many vertices, and how many edges they are.
    """
    vertices = 0
    while done[0] < costs.shape[0]:
        if vertices == budget:
            return SLICE_ENDED, vertices
        vertex = done[0]
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            near = neighbours[entry]
            if near > vertex:
                ends[done[1], 0], ends[done[1], 1] = vertex, near
                prices[done[1]] = (costs[vertex] + costs[near]) / 2
                done[1] += 1
        done[0] += 1
        vertices += 1
    return EXHAUSTED, vertices


def rising(values: NDArray[np.float64], cancel: Cancel) -> NDArray[np.int32]:
    """The order in which values of 0 or more rise, equal ones as they stand: `argsort`, stable.

    By one byte after the other, as a sort of all of them cannot be stopped. Raises `Cancelled`.
    O(n), and less where bytes are alike; 24 bytes each.
    """
    # The bits of doubles rise as these do; what is added makes zeros alike.
    bits, order = (values + 0.0).view(np.uint64), np.arange(len(values), dtype=np.int32)
    bits_placed, order_placed = np.empty_like(bits), np.empty_like(order)
    counts, done = np.zeros((8, 256), np.int64), np.zeros(1, np.int64)
    run_slices(lambda budget: count_bytes(bits, counts, done, budget), 2, cancel)
    for byte in range(8):
        if counts[byte].max() == len(values):
            continue
        firsts = np.cumsum(counts[byte]) - counts[byte]
        done[0] = 0

        def go_on(budget: int) -> tuple[int, int]:
            arrays = (bits, order, bits_placed, order_placed)  # noqa: B023 - at once
            return place_by_byte(*arrays, byte, firsts, done, budget)  # noqa: B023 - at once

        run_slices(go_on, 2, cancel)
        bits, bits_placed = bits_placed, bits
        order, order_placed = order_placed, order
    return order


@kernel
def count_bytes(
    bits: NDArray[np.uint64], counts: NDArray[np.int64], done: NDArray[np.int64], budget: int
) -> tuple[int, int]:
    """Go on to count in `counts`, of shape (8, 256), how often each byte has which value."""
    end = min(bits.shape[0], done[0] + budget)
    begin = done[0]
    for at in range(begin, end):
        for byte in range(8):
            counts[byte, (bits[at] >> np.uint64(8 * byte)) & np.uint64(255)] += 1
    done[0] = end
    return EXHAUSTED if end == bits.shape[0] else SLICE_ENDED, end - begin


@kernel
def place_by_byte(
    bits: NDArray[np.uint64],
    order: NDArray[np.int32],
    bits_placed: NDArray[np.uint64],
    order_placed: NDArray[np.int32],
    byte: int,
    nexts: NDArray[np.int64],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to put values with their places where one byte says; `nexts` has shape (256,)."""
    end = min(bits.shape[0], done[0] + budget)
    begin = done[0]
    for at in range(begin, end):
        value = (bits[at] >> np.uint64(8 * byte)) & np.uint64(255)
        bits_placed[nexts[value]] = bits[at]
        order_placed[nexts[value]] = order[at]
        nexts[value] += 1
    done[0] = end
    return EXHAUSTED if end == bits.shape[0] else SLICE_ENDED, end - begin


def one_by_one(values: NDArray[np.float64], cancel: Cancel) -> Iterator[float]:
    """Values for who adds them, which others may interrupt. Raises `Cancelled`."""
    for first in range(0, len(values), _VALUES_AT_ONCE):
        if cancel[0]:
            raise Cancelled
        yield from values[first : first + _VALUES_AT_ONCE].tolist()


@kernel
def join_cheapest(
    ends: NDArray[np.int32],
    order: NDArray[np.int32],
    parents: NDArray[np.int32],
    chosen: NDArray[np.bool_],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to set `chosen` of each edge that joins what those before it in `order` did not.

    `done` tells how many were looked at.
    """
    joined = 0
    while done[0] < order.shape[0]:
        if joined == budget:
            return SLICE_ENDED, joined
        edge = order[done[0]]
        done[0] += 1
        joined += 1
        a, b = root_of(parents, ends[edge, 0]), root_of(parents, ends[edge, 1])
        if a != b:
            parents[max(a, b)] = min(a, b)
            chosen[edge] = True
    return EXHAUSTED, joined


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
