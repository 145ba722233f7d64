"""Which of some sources are nearest to sites: by formula, or from all of them at once."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.free import Mesh, free_distances
from services.lattice.kernels.routing.nearest import (
    NearestSources,
    bytes_to_find_nearest,
    find_nearest,
)
from services.lattice.kernels.warm import ROUTING
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs, unit_costs
from services.lattice.operations.sites import Selection, selection
from services.plumbing.errors import Violations

_NUMBERS_PER_ANSWER = 32_768
_HEAP_SHARE = 4
"""A neighbour takes about so many times as long with a heap as it is estimated with."""
_PAIRS_AT_ONCE = 1 << 20
"""So many distances from sources are compared at a time."""


@dataclass(frozen=True, kw_only=True)
class NearestQuery:
    """How many of which sources, for which sites."""

    sources: tuple[Site, ...]
    k: int
    selected: Selection
    costs: SiteCosts | None = None

    @property
    def per_answer(self) -> int:
        """The most sites of one answer."""
        return max(1, _NUMBERS_PER_ANSWER // self.k)


@dataclass(frozen=True, eq=False)
class NearestAnswer:
    """The nearest sources of some sites, from the index `first_index` of those asked for on."""

    first_index: int
    sources: NDArray[np.int32]
    """Of shape (n, k): by their places, -1 beyond the last."""
    distances: NDArray[np.float64]
    """Of shape (n, k): -1 beyond the last."""
    computation: Computation | None


def nearest_query(
    spec: LatticeSpec,
    sources: Sequence[Sequence[int]],
    k: int,
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
    costs: SiteCosts | None,
) -> NearestQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    for n, source in enumerate(sources):
        check_free_site(spec, source, f"sources[{n}]", bad)
    if k > len(sources):
        bad.add("k", f"must be at most the number of sources, {len(sources)}")
    selected = selection(spec.geometry, targets, region, bad)
    bad.raise_if_any()
    assert selected is not None
    return NearestQuery(
        sources=tuple(tuple(source) for source in sources),
        k=k or 1,
        selected=selected,
        costs=costs,
    )


async def nearest_sources(
    context: OperationContext, lattice: HeldLattice, query: NearestQuery
) -> AsyncGenerator[NearestAnswer]:
    """Yield the nearest sources in the order of the sites. Raises WorkTooLarge."""
    free = lattice.grid is None and query.costs is None
    parts = _by_formula(context, lattice, query) if free else _by_search(context, lattice, query)
    async with aclosing(parts):
        async for part in parts:
            if part.computation is not None:
                context.record(part.computation)
            async with context.consumed_in_time():
                yield part


async def _by_formula(
    context: OperationContext, lattice: HeldLattice, query: NearestQuery
) -> AsyncGenerator[NearestAnswer]:
    geometry = lattice.spec.geometry
    per_part = min(query.per_answer, max(1, _PAIRS_AT_ONCE // len(query.sources)))
    pairs = per_part * len(query.sources)
    context.work_limit.check_looks(query.selected.count * len(query.sources) * len(geometry.shape))
    takes = Estimate(size_bytes=40 * pairs, looks=8 * pairs * len(geometry.shape))
    async with context.send_budget.reserved(12 * query.k * per_part):
        for part in query.selected.parts(per_part):
            work = partial(_compute_part, geometry, query, part)
            yield await context.compute.run(takes, work, admitted=part.start > 0)


def _compute_part(
    geometry: Geometry, query: NearestQuery, part: slice, stop: Stop
) -> NearestAnswer:
    began_ns = time.perf_counter_ns()
    lengths = np.concatenate(
        [_distances(geometry, query, mesh, stop) for mesh in query.selected.meshes(part)], axis=1
    )
    order = np.argsort(lengths, axis=0, kind="stable")[: query.k]
    nearest = np.take_along_axis(lengths, order, axis=0)
    computation = Computation(
        method=Method.CLOSED_FORM,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=0,
        memory_bytes=2 * lengths.nbytes,
    )
    return NearestAnswer(
        part.start, order.T.astype(np.int32), nearest.T.astype(np.float64), computation
    )


def _distances(geometry: Geometry, query: NearestQuery, mesh: Mesh, stop: Stop) -> NDArray[Any]:
    """Of shape (sources, sites)."""
    rows = [free_distances(geometry, [source], mesh, stop.check) for source in query.sources]
    return np.stack([row.reshape(-1) for row in rows])


async def _by_search(
    context: OperationContext, lattice: HeldLattice, query: NearestQuery
) -> AsyncGenerator[NearestAnswer]:
    grid = grid_with_costs(lattice)
    looks = _HEAP_SHARE * query.k * lattice.looks_max
    context.work_limit.check_looks(looks)
    context.work_limit.check_bytes(bytes_to_find_nearest(grid, query.k))
    await context.compilation.ready((ROUTING,))
    takes = Estimate(size_bytes=bytes_to_find_nearest(grid, query.k), looks=looks)
    async with context.send_budget.reserved(12 * query.k * query.selected.count) as reservation:
        parts = await context.compute.run(takes, partial(_search, lattice, query))
        held = sum(part.sources.nbytes + part.distances.nbytes for part in parts)
        while parts:
            part = parts.popleft()
            held -= part.sources.nbytes + part.distances.nbytes
            reservation.keep(held)
            yield part


def _search(lattice: HeldLattice, query: NearestQuery, stop: Stop) -> deque[NearestAnswer]:
    began_ns = time.perf_counter_ns()
    grid = grid_with_costs(lattice)
    costs = query.costs or unit_costs(lattice.spec)
    sources = np.array([grid.index(source) for source in query.sources], np.int64)
    nearest = find_nearest(grid, costs, sources, query.k, stop.flag)
    computation = Computation(
        method=Method.DIJKSTRA,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=nearest.sites_expanded,
        memory_bytes=nearest.bytes_worked,
        costs_digest=digest_of(query.costs),
    )
    return deque(_cut(lattice.spec.geometry, query, nearest, computation))


def _cut(
    geometry: Geometry, query: NearestQuery, nearest: NearestSources, computation: Computation
) -> Iterator[NearestAnswer]:
    for part in query.selected.parts(query.per_answer):
        sites = query.selected.indices(geometry, part)
        lengths = nearest.ranks.lengths[sites]
        distances = np.where(np.isfinite(lengths), lengths, -1.0)
        whole = computation if part.start == 0 else None
        yield NearestAnswer(part.start, nearest.ranks.sources[sites].copy(), distances, whole)
