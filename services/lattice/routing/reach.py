"""What is not further than told from the nearest of some sources."""

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import (
    BLOCKABLE_SITES_MAX,
    Computation,
    LatticeSpec,
    Method,
    Site,
    check_free_site,
)
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.distances import bytes_to_measure, measure
from services.lattice.kernels.fields.free import free_distances
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.lengths import rounded_bound
from services.lattice.kernels.warm import WEIGHTED, needed_to_measure
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import (
    CostQuery,
    bytes_to_search_costs,
    cost_search,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs
from services.lattice.operations.sites import Region
from services.plumbing.errors import Violations

_SITES_PER_ANSWER = 16_384
_SITE_BYTES = 16
"""An index and a length."""
_COST_SHARE = 3


@dataclass(frozen=True, kw_only=True)
class ReachQuery:
    """How far from what."""

    sources: tuple[Site, ...]
    length_max: float
    sites_max: int | None
    """How many sites to list at most; None lists all."""
    costs: SiteCosts | None = None


@dataclass(frozen=True, eq=False)
class ReachAnswer:
    """Some of the sites."""

    count: int
    """How many there are in all."""
    first_index: int
    sites: NDArray[np.int64]
    """Of shape (n, axes)."""
    distances: NDArray[np.float64]
    computation: Computation | None


def reach_query(
    spec: LatticeSpec,
    sources: Sequence[Sequence[int]],
    length_max: float,
    sites_max: int | None,
    costs: SiteCosts | None,
) -> ReachQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    for n, source in enumerate(sources):
        check_free_site(spec, source, f"sources[{n}]", bad)
    bad.raise_if_any()
    return ReachQuery(
        sources=tuple(tuple(source) for source in sources),
        length_max=length_max,
        sites_max=sites_max,
        costs=costs,
    )


async def reachable(
    context: OperationContext, lattice: HeldLattice, query: ReachQuery
) -> AsyncGenerator[ReachAnswer]:
    """Yield the sites in C order, so many at a time; one answer at least. Raises WorkTooLarge."""
    find, estimate = await _prepared(context, lattice, query)
    context.work_limit.check_bytes(estimate.size_bytes)
    listed_bytes = _listed_bytes(lattice, query, await _step_min(context, lattice, query))
    async with context.send_budget.reserved(listed_bytes) as reservation:
        reach = await context.compute.run(estimate, find)
        context.record(reach.computation)
        computation: Computation | None = reach.computation
        first, listed = 0, sum(len(part.indices) for part in reach.parts)
        while reach.parts:
            part = reach.parts.popleft()
            reservation.keep(_SITE_BYTES * (listed - first - len(part.indices)))
            sites = reach.coordinates(part.indices, lattice.spec.geometry)
            async with context.consumed_in_time():
                yield ReachAnswer(reach.count, first, sites, part.lengths, computation)
            first += len(part.indices)
            computation = None


@dataclass(frozen=True, eq=False)
class _Part:
    """Sites that one answer lists, by their indices in a box."""

    indices: NDArray[np.int64]
    lengths: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Reached:
    """What is listed of a box, one part at least; and how many sites there are, listed or not."""

    count: int
    region: Region
    parts: deque[_Part]
    computation: Computation

    def coordinates(self, indices: NDArray[np.int64], geometry: Geometry) -> NDArray[np.int64]:
        sites = np.stack(np.unravel_index(indices, self.region.shape), axis=-1)
        placed: NDArray[np.int64] = (sites + self.region.origin) % np.array(geometry.shape)
        return placed


async def _prepared(
    context: OperationContext, lattice: HeldLattice, query: ReachQuery
) -> tuple["partial[_Reached]", Estimate]:
    """What to run, once it is allowed and compiled."""
    if lattice.grid is None and query.costs is None:
        return _prepared_free(context, lattice.spec.geometry, query)
    grid = grid_with_costs(lattice)
    looks = lattice.looks_max * (1 if query.costs is None else _COST_SHARE)
    context.work_limit.check_looks(looks)
    kinds = needed_to_measure(grid) if query.costs is None else (WEIGHTED,)
    await context.compilation.ready(kinds)
    sought = bytes_to_measure(grid) if query.costs is None else bytes_to_search_costs(grid)
    takes = Estimate(size_bytes=sought + 24 * grid.sites, looks=looks)
    return partial(_search, grid, query), takes


def _prepared_free(
    context: OperationContext, geometry: Geometry, query: ReachQuery
) -> tuple["partial[_Reached]", Estimate]:
    """Around one source of a free lattice what is not listed needs not be looked at."""
    counted = len(query.sources) == 1 and not geometry.moore
    if counted and query.sites_max == 0:
        return partial(_count, geometry, query), Estimate(size_bytes=1 << 16, looks=1 << 16)
    region = _box_around(geometry, query)
    looks = region.sites * len(geometry.shape) * len(query.sources)
    context.work_limit.check_looks(looks)
    if region.sites > BLOCKABLE_SITES_MAX:
        raise WorkTooLarge(
            "more sites may be near than are listed",
            estimate=region.sites,
            limit=BLOCKABLE_SITES_MAX,
        )
    takes = Estimate(size_bytes=(8 * len(geometry.shape) + 24) * region.sites, looks=looks)
    return partial(_enumerate, geometry, query, region), takes


async def _step_min(context: OperationContext, lattice: HeldLattice, query: ReachQuery) -> float:
    """What a step costs at least."""
    if query.costs is None:
        return 1.0
    costs, grid = query.costs, grid_with_costs(lattice)
    takes = Estimate(size_bytes=10 * grid.sites, looks=grid.sites)
    least, _ = await context.compute.run(takes, lambda _stop: costs.range_on(grid))
    return least


def _listed_bytes(lattice: HeldLattice, query: ReachQuery, step_min: float) -> int:
    """The most that what is listed takes: within reach of each source, and of all of them."""
    geometry = lattice.spec.geometry
    most = geometry.sites
    if query.costs is None:
        most = min(most, _box_around(geometry, query).sites)
    if step_min > 0:
        steps = min(rounded_bound(query.length_max) / step_min, max(geometry.shape))
        # One more where costs are added up: each sum is rounded.
        side = 2 * (int(steps) + (query.costs is not None)) + 1
        around_each = math.prod(min(length, side) for length in geometry.shape)
        most = min(most, len(query.sources) * around_each)
    return _SITE_BYTES * (most if query.sites_max is None else min(most, query.sites_max))


def _box_around(geometry: Geometry, query: ReachQuery) -> Region:
    """The box that holds everything near. On rings it may begin below 0 and end behind the last."""
    reach = int(rounded_bound(query.length_max))
    origin, shape = [], []
    for axis, (length, ring) in enumerate(zip(geometry.shape, geometry.periodic, strict=True)):
        at = [source[axis] for source in query.sources]
        first, last = min(at) - reach, max(at) + reach
        if ring and last - first + 1 < length:
            origin.append(first)
            shape.append(last - first + 1)
        else:
            first, last = (0, length - 1) if ring else (max(0, first), min(length - 1, last))
            origin.append(first)
            shape.append(last - first + 1)
    return Region(origin=tuple(origin), shape=tuple(shape))


def _count(geometry: Geometry, query: ReachQuery, _stop: Stop) -> _Reached:
    began_ns = time.perf_counter_ns()
    count = geometry.ball(query.sources[0], int(query.length_max))
    region = Region(origin=query.sources[0], shape=(1,) * len(geometry.shape))
    computation = _computation(Method.CLOSED_FORM, began_ns, 0, 0)
    return _Reached(count, region, _cut(np.zeros(0, np.int64), np.zeros(0), 0), computation)


def _enumerate(geometry: Geometry, query: ReachQuery, region: Region, stop: Stop) -> _Reached:
    began_ns = time.perf_counter_ns()
    axes = [
        (origin + np.arange(length)) % whole
        for origin, length, whole in zip(region.origin, region.shape, geometry.shape, strict=True)
    ]
    mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
    lengths = free_distances(geometry, query.sources, mesh, stop.check).reshape(-1)
    near = np.flatnonzero(lengths <= rounded_bound(query.length_max))
    near = _in_order(geometry, region, near)
    computation = _computation(Method.CLOSED_FORM, began_ns, 0, lengths.nbytes + near.nbytes)
    return _Reached(len(near), region, _cut(near, lengths, query.sites_max), computation)


def _in_order(geometry: Geometry, region: Region, near: NDArray[np.int64]) -> NDArray[np.int64]:
    """In C order of the lattice: the box may lie across the edge of a ring."""
    sites = np.stack(np.unravel_index(near, region.shape)) + np.array(region.origin)[:, None]
    whole = np.array(geometry.shape)[:, None]
    if ((sites >= 0) & (sites < whole)).all():
        return near
    return near[np.lexsort((sites % whole)[::-1])]


def _search(grid: Grid, query: ReachQuery, stop: Stop) -> _Reached:
    began_ns = time.perf_counter_ns()
    if query.costs is None:
        measured = measure(grid, query.sources, stop.flag)
        lengths, method = measured.at(slice(None)), Method(measured.method)
        expanded, held = measured.sites_expanded, measured.bytes_worked
        near = np.flatnonzero((lengths >= 0) & (lengths <= rounded_bound(query.length_max)))
    else:
        sources = np.unique([grid.index(source) for source in query.sources])
        asked = CostQuery(
            sources=sources,
            offsets=np.zeros(len(sources)),
            length_max=rounded_bound(query.length_max),
        )
        search = cost_search(grid, query.costs, asked, stop.flag)
        search.run(stop.flag)
        lengths, method = search.lengths(slice(None)), Method.DIJKSTRA
        expanded, held = search.sites_expanded, search.bytes_held
        near = np.flatnonzero(lengths < math.inf)
    region = Region(origin=(0,) * len(grid.shape), shape=grid.shape)
    computation = replace(
        _computation(method, began_ns, expanded, held + near.nbytes),
        costs_digest=digest_of(query.costs),
    )
    return _Reached(len(near), region, _cut(near, lengths, query.sites_max), computation)


def _cut(near: NDArray[np.int64], lengths: NDArray[Any], sites_max: int | None) -> deque[_Part]:
    """What is listed of the sites that are near, of which `near` and `lengths` hold no more."""
    listed = near[:sites_max]
    return deque(
        _Part(indices, lengths[indices].astype(np.float64))
        for first in range(0, max(1, len(listed)), _SITES_PER_ANSWER)
        for indices in [listed[first : first + _SITES_PER_ANSWER].copy()]
    )


def _computation(method: Method, began_ns: int, expanded: int, held: int) -> Computation:
    return Computation(
        method=method,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=expanded,
        memory_bytes=held,
    )
