"""Distances from the nearest of some sources: what is asked, what it takes, how it is answered."""

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import (
    Computation,
    LatticeSpec,
    Method,
    Site,
    check_free_site,
)
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.distances import (
    Distances,
    Values,
    bytes_to_measure,
    measure,
)
from services.lattice.kernels.fields.free import free_distances
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import TooManySites
from services.lattice.kernels.warm import WEIGHTED, needed_to_measure
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import bytes_to_search_costs, measure_costs
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs
from services.lattice.operations.sites import Region, Selection, selection
from services.plumbing.errors import Violations

DISTANCES_PER_ANSWER = 65_536
"""Of a list of doubles: whoever makes objects of them has a moment's work with each answer."""
VALUES_PER_ANSWER = 262_144
"""Of an array, which nobody takes apart: half a MiB to two."""

_COST_SHARE = 3
"""A neighbour takes about so many times as long where sites have costs."""

_ARRAYS = 3
"""Arrays of a number per site and axis that distances are computed in, in closed form."""


@dataclass(frozen=True, kw_only=True)
class DistanceQuery:
    """The distance of which sites from the nearest of which others.

    Either `targets` or `region` is set, never both.
    """

    sources: tuple[Site, ...]
    targets: tuple[Site, ...] | None = None
    region: Region | None = None
    as_bytes: bool = False
    """Answers are arrays; otherwise lists of doubles."""
    costs: SiteCosts | None = None
    """Of going through sites. Unset means that a step costs its length."""

    @property
    def per_answer(self) -> int:
        """The most distances of one answer."""
        return VALUES_PER_ANSWER if self.as_bytes else DISTANCES_PER_ANSWER

    @property
    def selected(self) -> Selection:
        """The sites that distances are answered of."""
        return Selection(targets=self.targets, region=self.region)

    @property
    def count(self) -> int:
        """The number of distances to answer."""
        return self.selected.count

    @property
    def parts(self) -> Iterator[slice]:
        """Their places, cut into answers."""
        return self.selected.parts(self.per_answer)


@dataclass(frozen=True, eq=False)
class DistancesAnswer:
    """Some distances, from the index `first_index` of those asked for on."""

    first_index: int
    distances: Values
    """Of shape (`DistanceQuery.per_answer`,) or less; -1 where no path leads. All answers of a
    query have the same type of numbers."""
    computation: Computation | None


def distance_query(
    spec: LatticeSpec,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
    *,
    as_bytes: bool = False,
    costs: SiteCosts | None = None,
) -> DistanceQuery:
    """Check that the sites of a query lie in the lattice; `region` is origin and shape.

    Without targets and region it asks for the whole lattice. Raises InvalidInput naming
    every bad field.
    """
    bad = Violations()
    for n, source in enumerate(sources):
        check_free_site(spec, source, f"sources[{n}]", bad)
    selected = selection(spec.geometry, targets, region, bad)
    bad.raise_if_any()
    assert selected is not None
    return DistanceQuery(
        sources=tuple(tuple(source) for source in sources),
        targets=selected.targets,
        region=selected.region,
        as_bytes=as_bytes,
        costs=costs,
    )


def estimate(lattice: HeldLattice, query: DistanceQuery) -> Estimate:
    """What it takes at most: on a lattice with blocked sites all of it, otherwise a part."""
    if query.costs is not None:
        size_bytes = bytes_to_search_costs(grid_with_costs(lattice))
        return Estimate(size_bytes=size_bytes, looks=_COST_SHARE * lattice.looks_max)
    if lattice.grid is not None:
        return Estimate(size_bytes=bytes_to_measure(lattice.grid), looks=lattice.looks_max)
    axis_count = len(lattice.spec.geometry.shape)
    count = min(query.count, query.per_answer)
    numbers = count * (_ARRAYS * axis_count + 2)
    return Estimate(size_bytes=8 * numbers, looks=numbers * len(query.sources))


async def find_distances(
    context: OperationContext, lattice: HeldLattice, query: DistanceQuery
) -> AsyncGenerator[DistancesAnswer]:
    """Yield distances in the order asked for, `DistanceQuery.per_answer` at a time.

    On a lattice without blocked sites each part is computed when it is asked for, and has
    its own computation. Otherwise the first has that of the whole, and while the caller
    looks at a part no more is held than the values that follow it.
    """
    by_formula = lattice.grid is None and query.costs is None
    answer = _by_formula if by_formula else _by_search
    async with aclosing(answer(context, lattice, query)) as parts:
        async for part in parts:
            if part.computation is not None:
                context.record(part.computation)
            async with context.consumed_in_time():
                yield part


async def _by_formula(
    context: OperationContext, lattice: HeldLattice, query: DistanceQuery
) -> AsyncGenerator[DistancesAnswer]:
    takes = estimate(lattice, query)
    async with context.send_budget.reserved(8 * min(query.count, query.per_answer)):
        for part in query.parts:
            work = partial(_compute_part, lattice.spec.geometry, query, part)
            yield await context.compute.run(takes, work, admitted=part.start > 0)


async def _by_search(
    context: OperationContext, lattice: HeldLattice, query: DistanceQuery
) -> AsyncGenerator[DistancesAnswer]:
    grid = grid_with_costs(lattice)
    if query.targets is None:
        context.work_limit.check(lattice)
    kinds = needed_to_measure(grid) if query.costs is None else (WEIGHTED,)
    await context.compilation.ready(kinds)
    sites_max = context.work_limit.sites_max(lattice)
    value_bytes = 8 if grid.diagonal or query.costs is not None else 4
    async with context.send_budget.reserved(value_bytes * query.count) as reservation:
        work = partial(_measure, lattice.spec.geometry, grid, query, sites_max)
        try:
            measured = await context.compute.run(estimate(lattice, query), work)
        except TooManySites:
            raise context.work_limit.exceeded(lattice) from None
        computation: Computation | None = measured.computation
        remaining = measured.parts
        first = 0
        while remaining:
            values = remaining.popleft()
            reservation.keep(sum(part.nbytes for part in remaining))
            yield DistancesAnswer(first, values, computation)
            first += len(values)
            computation = None


@dataclass(frozen=True, eq=False)
class _Measured:
    """All the distances asked for, as narrow as they were computed, cut into answers."""

    parts: deque[Values]
    computation: Computation


def _measure(
    geometry: Geometry, grid: Grid, query: DistanceQuery, sites_max: int | None, stop: Stop
) -> _Measured:
    """Measure everywhere, and keep what was asked for: the rest is let go of here."""
    began_ns = time.perf_counter_ns()
    if query.costs is None:
        distances = measure(grid, query.sources, stop.flag, query.targets, sites_max)
        exact_length = grid.exact_length
    else:
        distances = measure_costs(
            grid, query.costs, query.sources, stop.flag, query.targets, sites_max
        )
        exact_length = math.inf
    elapsed_ns = time.perf_counter_ns() - began_ns
    parts = deque(_read_part(geometry, distances, query, part, stop) for part in query.parts)
    computation = Computation(
        method=Method(distances.method),
        elapsed_ns=elapsed_ns,
        sites_expanded=distances.sites_expanded,
        memory_bytes=distances.bytes_worked,
        exact=all(part.max() <= exact_length for part in parts),
        costs_digest=digest_of(query.costs),
    )
    return _Measured(parts, computation)


def _read_part(
    geometry: Geometry, distances: Distances, query: DistanceQuery, part: slice, stop: Stop
) -> Values:
    stop.check()
    return distances.at(query.selected.indices(geometry, part))


def _compute_part(
    geometry: Geometry, query: DistanceQuery, part: slice, stop: Stop
) -> DistancesAnswer:
    began_ns = time.perf_counter_ns()
    values = np.concatenate(
        [
            free_distances(geometry, query.sources, sites, stop.check).reshape(-1)
            for sites in query.selected.meshes(part)
        ]
    )
    computation = Computation(
        method=Method.CLOSED_FORM,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=0,
        memory_bytes=_ARRAYS * len(geometry.shape) * values.nbytes,
    )
    return DistancesAnswer(part.start, values, computation)
