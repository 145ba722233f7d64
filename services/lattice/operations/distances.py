"""Distances from the nearest of some sources: what is asked, what it takes, how it is answered."""

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import (
    Computation,
    LatticeSpec,
    Method,
    Site,
    check_free_site,
    check_site,
)
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.distances import (
    Distances,
    Values,
    bytes_to_measure,
    measure,
)
from services.lattice.kernels.fields.free import Mesh, free_distances
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import TooManySites
from services.lattice.kernels.warm import WEIGHTED, needed_to_measure
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import bytes_to_search_costs, measure_costs
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import grid_with_costs
from services.plumbing.errors import Violations

REGION_SITES_MAX = 33_554_432
DISTANCES_PER_ANSWER = 65_536
"""Of a list of doubles: whoever makes objects of them has a moment's work with each answer."""
VALUES_PER_ANSWER = 262_144
"""Of an array, which nobody takes apart: half a MiB to two."""

_COST_SHARE = 3
"""A neighbour takes about so many times as long where sites have costs."""

_ARRAYS = 3
"""Arrays of a number per site and axis that distances are computed in, in closed form."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box of sites inside a lattice."""

    origin: Site
    shape: tuple[int, ...]

    @property
    def sites(self) -> int:
        return math.prod(self.shape)


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
    def count(self) -> int:
        """The number of distances to answer."""
        if self.targets is not None:
            return len(self.targets)
        assert self.region is not None
        return self.region.sites


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
    geometry = spec.geometry
    for n, source in enumerate(sources):
        check_free_site(spec, source, f"sources[{n}]", bad)
    for n, target in enumerate(targets):
        check_site(geometry, target, f"targets[{n}]", bad)
    origin, shape = region if region is not None else ((0,) * len(geometry.shape), geometry.shape)
    if not targets:
        _check_region(geometry, origin, shape, bad)
    bad.raise_if_any()
    return DistanceQuery(
        sources=tuple(tuple(source) for source in sources),
        targets=tuple(tuple(target) for target in targets) if targets else None,
        region=None if targets else Region(origin=tuple(origin), shape=tuple(shape)),
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
        for part in _parts_of(query):
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
    parts = deque(_read_part(geometry, distances, query, part, stop) for part in _parts_of(query))
    computation = Computation(
        method=Method(distances.method),
        elapsed_ns=elapsed_ns,
        sites_expanded=distances.sites_expanded,
        memory_bytes=distances.bytes_worked,
        exact=all(part.max() <= exact_length for part in parts),
    )
    return _Measured(parts, computation)


def _read_part(
    geometry: Geometry, distances: Distances, query: DistanceQuery, part: slice, stop: Stop
) -> Values:
    stop.check()
    return distances.at(_indices_at(geometry, query, part))


def _compute_part(
    geometry: Geometry, query: DistanceQuery, part: slice, stop: Stop
) -> DistancesAnswer:
    began_ns = time.perf_counter_ns()
    values = np.concatenate(
        [
            free_distances(geometry, query.sources, sites, stop.check).reshape(-1)
            for sites in _meshes_at(query, part)
        ]
    )
    computation = Computation(
        method=Method.CLOSED_FORM,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=0,
        memory_bytes=_ARRAYS * len(geometry.shape) * values.nbytes,
    )
    return DistancesAnswer(part.start, values, computation)


def _parts_of(query: DistanceQuery) -> Iterator[slice]:
    """The distances asked for, cut into answers."""
    for first in range(0, query.count, query.per_answer):
        yield slice(first, min(first + query.per_answer, query.count))


def _meshes_at(query: DistanceQuery, part: slice) -> Iterator[Mesh]:
    """The sites of this part of those asked for, in order."""
    if query.targets is not None:
        yield list(np.array(query.targets[part], np.int64).T)
        return
    assert query.region is not None
    for block in _blocks_of(part, query.region.shape[-1]):
        yield _mesh(query.region, *block)


def _blocks_of(part: slice, width: int) -> Iterator[tuple[range, range]]:
    """The rows and columns of what some places of a region cover, in at most three blocks.

    Whole rows are one; what is there of the row before and of the one behind is another each.
    """
    at = part.start
    while at < part.stop:
        row, column = divmod(at, width)
        whole_rows = (part.stop - at) // width
        if column == 0 and whole_rows:
            yield range(row, row + whole_rows), range(width)
            at += whole_rows * width
        else:
            end = min(width, column + part.stop - at)
            yield range(row, row + 1), range(column, end)
            at += end - column


def _mesh(region: Region, rows: range, columns: range) -> Mesh:
    """The sites of some rows: a column of coordinates for each axis but the last, then a row."""
    first, *others = reversed(region.origin)
    mesh = [first + np.arange(columns.start, columns.stop)[None]]
    rest = np.arange(rows.start, rows.stop)[:, None]
    for origin, length in zip(others, region.shape[-2::-1], strict=True):
        rest, at = np.divmod(rest, length)
        mesh.append(origin + at)
    return mesh[::-1]


def _indices_at(geometry: Geometry, query: DistanceQuery, part: slice) -> NDArray[np.int64] | slice:
    """The C-order indices of the sites of this part of those asked for."""
    if query.targets is not None:
        return _indices_of(geometry, np.array(query.targets[part], np.int64).T)
    assert query.region is not None
    if query.region.shape == geometry.shape:
        return part
    rows = _Rows.of(query.region, part)
    first_indices = _indices_of(geometry, rows.first_sites)
    places = np.arange(part.start, part.stop)
    return places + np.repeat(first_indices - rows.first_places, rows.site_counts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows that some sites of a region lie in, along its last axis.

    A row's sites follow each other in the region and in the lattice, so what is computed of a
    row needs not be computed of each of its sites.
    """

    first_sites: NDArray[np.int64]
    """Of shape (axes, rows): where each begins in the lattice."""
    first_places: NDArray[np.int64]
    """Of shape (rows,): where each begins in the region, in C order."""
    site_counts: NDArray[np.int64]
    """Of shape (rows,): how many of its sites are meant; of the first row they are its last."""

    @classmethod
    def of(cls, region: Region, part: slice) -> Self:
        width = region.shape[-1]
        rows = np.arange(part.start // width, (part.stop - 1) // width + 1)
        ends = np.clip(np.append(rows, rows[-1] + 1) * width, part.start, part.stop)
        sites = np.empty((len(region.shape), len(rows)), np.int64)
        sites[-1] = region.origin[-1]
        rest = rows
        for axis in reversed(range(len(region.shape) - 1)):
            rest, sites[axis] = np.divmod(rest, region.shape[axis])
            sites[axis] += region.origin[axis]
        return cls(sites, rows * width, np.diff(ends))


def _indices_of(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """The C-order indices of sites of shape (axes, count). All must lie inside."""
    index = np.zeros(sites.shape[1], np.int64)
    for length, coordinates in zip(geometry.shape, sites, strict=True):
        index *= length
        index += coordinates
    return index


def _check_region(
    geometry: Geometry, origin: Sequence[int], shape: Sequence[int], bad: Violations
) -> None:
    inside = check_site(geometry, origin, "region.origin", bad)
    if len(shape) != len(geometry.shape):
        bad.add("region.shape", f"must have {len(geometry.shape)} values, not {len(shape)}")
        return
    if not inside:
        return
    for axis, (first, length) in enumerate(zip(origin, shape, strict=True)):
        longest = geometry.shape[axis] - first
        if not 1 <= length <= longest:
            bad.add(f"region.shape[{axis}]", f"must be 1 to {longest} from there")
    if math.prod(shape) > REGION_SITES_MAX:
        bad.add("region", f"must have at most {REGION_SITES_MAX:,} sites")
