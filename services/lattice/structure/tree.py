"""A spanning tree that costs least."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import BLOCKABLE_SITES_MAX, Computation, Method
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.graph.trees import BYTES_PER_EDGE, cheapest_tree
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of
from services.lattice.structure.work import (
    VALUES_PER_ANSWER,
    Clock,
    Work,
    graph_of,
    graph_work,
    streamed,
)

_EDGE_BYTES = 16


@dataclass(frozen=True, eq=False)
class TreePart:
    """How many edges the tree has and what it costs, and some of the edges as pairs of sites."""

    edge_count: int
    cost: float
    first_index: int
    edges: NDArray[np.int64]
    """Of shape (n, 2), by C-order indices."""
    computation: Computation | None


async def find_tree(
    context: OperationContext, lattice: HeldLattice, costs: SiteCosts | None, *, listed: bool
) -> AsyncGenerator[TreePart]:
    """Yield the tree, and its edges where they are `listed`. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if lattice.grid is None and costs is None:
        if listed and geometry.sites > BLOCKABLE_SITES_MAX:
            raise WorkTooLarge(
                "the tree has more edges than are listed",
                estimate=geometry.sites,
                limit=BLOCKABLE_SITES_MAX,
            )
        count = geometry.sites if listed else 1
        work = Work(looks=4 * count, size_bytes=40 * count, kinds=())
        find = partial(_comb, geometry, listed=listed)
    else:
        laid_out = graph_work(lattice, 8 * lattice.looks_max, bytes_per_site=64)
        listed_bytes = BYTES_PER_EDGE * geometry.edges
        work = replace(laid_out, size_bytes=laid_out.size_bytes + listed_bytes)
        find = partial(_cheapest, lattice, costs, listed=listed)
    size_bytes = _EDGE_BYTES * lattice.lattice.vertices if listed else 0
    async with aclosing(streamed(context, work, size_bytes, find)) as parts:
        async for part in parts:
            yield part


def _comb(geometry: Geometry, _stop: Stop, *, listed: bool) -> list[TreePart]:
    """Each site hangs on the one before it, on the last axis that it is not the first on."""
    clock = Clock()
    count = geometry.sites - 1
    edges = np.zeros((0, 2), np.int64)
    if listed and count:
        heads = np.arange(1, geometry.sites)
        tails = np.full(count, -1)
        stride = 1
        for length in reversed(geometry.shape):
            hangs = (tails < 0) & (heads // stride % length > 0)
            tails[hangs] = heads[hangs] - stride
            stride *= length
        edges = np.stack((tails, heads), axis=1)
        del heads, tails
    return _cut(
        count, float(count), edges, clock.computation(Method.CLOSED_FORM, held=edges.nbytes)
    )


def _cheapest(
    lattice: HeldLattice, costs: SiteCosts | None, stop: Stop, *, listed: bool
) -> list[TreePart]:
    clock = Clock()
    rows = graph_of(lattice, stop)
    prices = np.ones(rows.count) if costs is None else costs.as_floats[rows.sites]
    edges, cost = cheapest_tree(rows, prices, stop.flag)
    held = rows.bytes_held + BYTES_PER_EDGE * len(rows.neighbours) // 2
    computation = replace(
        clock.computation(Method.KRUSKAL, expanded=rows.count, held=held),
        costs_digest=digest_of(costs),
    )
    pairs = rows.sites[edges] if listed else np.zeros((0, 2), np.int64)
    return _cut(len(edges), cost, pairs, computation)


def _cut(
    count: int, cost: float, edges: NDArray[np.int64], computation: Computation
) -> list[TreePart]:
    parts = []
    once: Computation | None = computation
    for first in range(0, max(1, len(edges)), VALUES_PER_ANSWER):
        listed = edges[first : first + VALUES_PER_ANSWER].copy()
        parts.append(TreePart(count, cost, first, listed, once))
        once = None
    return parts
