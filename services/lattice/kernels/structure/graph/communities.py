"""Communities by modularity: Louvain's method, and the best boxes of a free lattice."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.rows import Rows

_LEVELS_MAX = 32
_PASSES_MAX = 64


def modularity(rows: Rows, labels: NDArray[np.int32]) -> float:
    """The share of edges inside communities, less what chance would give."""
    edges = len(rows.neighbours)
    if not edges:
        return 0.0
    tails = np.repeat(labels, rows.degrees)
    inside = float((tails == labels[rows.neighbours]).sum())
    degrees = np.bincount(labels, weights=rows.degrees.astype(np.float64))
    return inside / edges - float(((degrees / edges) ** 2).sum())


def louvain(rows: Rows, seed: int, cancel: Cancel) -> NDArray[np.int32]:
    """A label for each vertex, 0 and up (Blondel et al. 2008). Raises `Cancelled`.

    The same seed gives the same labels. Nothing says how far from the best it is.
    """
    rng = np.random.default_rng(seed)
    offsets, neighbours = rows.offsets, rows.neighbours
    weights = np.ones(len(neighbours))
    labels = np.arange(rows.count, dtype=np.int32)
    loops = np.zeros(rows.count)
    for _ in range(_LEVELS_MAX):
        count = len(offsets) - 1
        moving = np.arange(count, dtype=np.int32)
        moved = _move_all(offsets, neighbours, weights, loops, moving, rng, cancel)
        own: NDArray[np.int32]
        own = np.unique(moving, return_inverse=True)[1].astype(np.int32)
        labels = np.asarray(own[labels], np.int32)
        if not moved or int(own.max(initial=0)) + 1 == count:
            break
        offsets, neighbours, weights, loops = _gathered(offsets, neighbours, weights, loops, own)
    return labels


def _move_all(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float64],
    loops: NDArray[np.float64],
    labels: NDArray[np.int32],
    rng: np.random.Generator,
    cancel: Cancel,
) -> bool:
    """Move vertices while modularity grows by it; whether any was moved."""
    count = len(labels)
    sums = np.concatenate(([0.0], np.cumsum(weights)))
    strengths = sums[offsets[1:]] - sums[offsets[:-1]] + loops
    totals = strengths.copy()
    order = rng.permutation(count).astype(np.int32)
    links, state = np.zeros(count), np.zeros(2, np.int64)
    whole = float(strengths.sum())
    moved = False
    for _ in range(_PASSES_MAX):
        state[:] = 0

        def go_on(budget: int) -> tuple[int, int]:
            return move_best(
                offsets,
                neighbours,
                weights,
                strengths,
                whole,
                order,
                labels,
                totals,
                links,
                state,
                budget,
            )

        run_slices(go_on, 16, cancel)
        moved |= bool(state[MOVED])
        if state[MOVED] <= count // 10_000:
            break
    return moved


DONE = 0
MOVED = 1


@kernel
def move_best(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float64],
    strengths: NDArray[np.float64],
    whole: float,
    order: NDArray[np.int32],
    labels: NDArray[np.int32],
    totals: NDArray[np.float64],
    links: NDArray[np.float64],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to move each vertex to the community of a neighbour that modularity gains most by.

    `totals` are the strengths of communities, `links` scratch of zeros, one a community, and
    `state` how many vertices were looked at and moved.
    """
    looked = 0
    while state[DONE] < order.shape[0]:
        if looked == budget:
            return SLICE_ENDED, looked
        vertex = order[state[DONE]]
        state[DONE] += 1
        looked += 1
        own = labels[vertex]
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            links[labels[neighbours[entry]]] += weights[entry]
        totals[own] -= strengths[vertex]
        share = strengths[vertex] / whole
        best, best_gain = own, links[own] - share * totals[own]
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            label = labels[neighbours[entry]]
            gain = links[label] - share * totals[label]
            if gain > best_gain + 1e-12:
                best, best_gain = label, gain
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            links[labels[neighbours[entry]]] = 0.0
        totals[best] += strengths[vertex]
        if best != own:
            labels[vertex] = best
            state[MOVED] += 1
    return EXHAUSTED, looked


def _gathered(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float64],
    loops: NDArray[np.float64],
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """The graph whose vertices are communities."""
    count = int(labels.max()) + 1
    tails = np.repeat(labels, np.diff(offsets)).astype(np.int64)
    keys = tails * count + labels[neighbours]
    pairs, places = np.unique(keys, return_inverse=True)
    sums = np.bincount(places, weights=weights).astype(np.float64)
    heads = pairs % count
    tails = pairs // count
    inside = heads == tails
    own = np.bincount(labels, weights=loops, minlength=count).astype(np.float64)
    own += np.bincount(tails[inside], weights=sums[inside], minlength=count)
    starts = np.searchsorted(tails[~inside], np.arange(count + 1))
    return starts.astype(np.int64), heads[~inside].astype(np.int32), sums[~inside], own
