"""Shortest paths between sites: what is asked, what it takes, how it is computed and answered."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.component_index import ComponentIndex
from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import LOOKS_PER_S, Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import (
    Computation,
    LatticeSpec,
    Method,
    Site,
    check_free_site,
)
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.components import Components, bytes_to_label
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.runs import Path
from services.lattice.kernels.searches import SEARCHED_SITES_MAX, Search, bytes_to_search
from services.lattice.kernels.slices import TooManySites
from services.lattice.kernels.warm import ANSWERS, WEIGHTED, needed_to_search
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import (
    CostSearch,
    bytes_to_search_costs,
    search_cheapest,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs
from services.lattice.operations.sites import Selection, selection
from services.plumbing.errors import Violations

_PART_NS = 50_000_000
_PART_BYTES = 1 << 20
"""A part of an answer to a batch ends once it took so long or its arrays take so many bytes."""

_INLINE_LOOKS = 1 << 15
"""What takes no more is computed at once: a millisecond at most, less than a thread costs."""

_ATTEMPT_LOOKS = 1 << 12
"""A search that may take longer is given so many, twice at most, before it gets a thread."""

_COST_SHARE = 3
"""A neighbour takes about so many times as long where sites have costs."""

_PROBE_SHARE = 16
"""A search that has expanded so small a part of all sites is worth knowing whether it can end."""

_LOOKED_AT_SITES_MAX = 1 << 22
"""Of how many sites it is told whether a search has looked at them: the contract says so."""

_AHEAD_MAX = 4
"""Parts of an answer to a batch that are computed at a time, at most."""


@dataclass(frozen=True, kw_only=True)
class PathQuery:
    """From where to where: both free and inside the lattice."""

    start: Site
    goal: Site


@dataclass(frozen=True, kw_only=True)
class PathsQuery:
    """1 to 10,000 queries on one lattice, and how many sites of each path to list."""

    queries: Sequence[PathQuery]
    sites_max: int
    """0 to 100,000."""
    costs: SiteCosts | None = None
    """Of going through sites. Unset means that a step costs its length."""
    region: Selection | None = None
    """Where to tell what the search of a single query has looked at."""


@dataclass(frozen=True, eq=False)
class PathAnswer:
    """One path, and how it was computed."""

    path: Path
    computation: Computation
    looked_at: bytes = b""
    """A bit for each site of the query's region, the lowest of a byte first."""


@dataclass(frozen=True, eq=False)
class PathsAnswer:
    """Some paths of a batch, from the query `first_query` on, computed together."""

    first_query: int
    paths: Sequence[Path]
    computation: Computation
    looked_at: bytes = b""
    """As in `PathAnswer`, of the last one."""


def path_query(
    spec: LatticeSpec,
    start: Sequence[int],
    goal: Sequence[int],
    sites_max: int,
    costs: SiteCosts | None = None,
    region: tuple[Sequence[int], Sequence[int]] | None = None,
) -> PathsQuery:
    """Check that the sites of a query are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    check_free_site(spec, start, "start", bad)
    check_free_site(spec, goal, "goal", bad)
    selected = None if region is None else selection(spec.geometry, (), region, bad)
    if selected is not None and selected.count > _LOOKED_AT_SITES_MAX:
        bad.add("region", f"must have at most {_LOOKED_AT_SITES_MAX:,} sites")
    bad.raise_if_any()
    queries = [_query(start, goal)]
    return PathsQuery(queries=queries, sites_max=sites_max, costs=costs, region=selected)


def paths_query(
    spec: LatticeSpec,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    sites_max: int,
    costs: SiteCosts | None = None,
) -> PathsQuery:
    """The same for a batch of starts and goals."""
    bad = Violations()
    for n, (start, goal) in enumerate(pairs):
        check_free_site(spec, start, f"queries[{n}].start", bad)
        check_free_site(spec, goal, f"queries[{n}].goal", bad)
    bad.raise_if_any()
    queries = [_query(start, goal) for start, goal in pairs]
    return PathsQuery(queries=queries, sites_max=sites_max, costs=costs)


def estimate(lattice: HeldLattice, query: PathsQuery) -> Estimate:
    """What one path takes at most: the search, if no formula answers, and the listed sites."""
    numbers = query.sites_max * len(lattice.spec.geometry.shape)
    if query.region is not None:
        numbers += 2 * query.region.count
    if query.costs is not None:
        size_bytes = 8 * numbers + bytes_to_search_costs(grid_with_costs(lattice))
        return Estimate(size_bytes=size_bytes, looks=numbers + _COST_SHARE * lattice.looks_max)
    if lattice.grid is None:
        return Estimate(size_bytes=8 * numbers, looks=numbers)
    if lattice.grid.sites > SEARCHED_SITES_MAX:
        raise WorkTooLarge(
            "the lattice has more sites than paths are found among",
            estimate=lattice.grid.sites,
            limit=SEARCHED_SITES_MAX,
        )
    size_bytes = 8 * numbers + bytes_to_search(lattice.grid) + bytes_to_label(lattice.grid)
    return Estimate(size_bytes=size_bytes, looks=numbers + lattice.looks_max)


async def find_path(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> PathAnswer:
    """Find the path of a single query."""
    await context.compilation.ready((ANSWERS,))
    answer = _find_at_once(context, lattice, query) if query.costs is None else None
    if answer is None:
        await _until_compiled(context, lattice, query)
        find = partial(_find_some, context, lattice, query, range(1))
        answer = await context.compute.run(estimate(lattice, query), find)
    context.record(answer.computation)
    return PathAnswer(answer.paths[0], answer.computation, answer.looked_at)


async def find_paths(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> AsyncGenerator[PathsAnswer]:
    """Find paths in the order of the queries and yield them as they come.

    Parts are computed ahead while the caller looks at one, on as many cores as there are and
    nobody else waits for, and no more than those are in memory. The arrays of a part take 1 MiB
    and one path more at most.
    """
    await _until_compiled(context, lattice, query)
    ahead = min(_AHEAD_MAX, context.compute.threads)
    async with (
        context.send_budget.reserved(ahead * _PART_BYTES),
        aclosing(_Batch(context, lattice, query).parts(ahead)) as parts,
    ):
        async for part in parts:
            context.record(part.computation)
            async with context.consumed_in_time():
                yield part


async def _until_compiled(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> None:
    kinds: Sequence[str] = () if lattice.grid is None else needed_to_search(lattice.grid)
    if query.costs is not None:
        kinds = (WEIGHTED,)
    await context.compilation.ready((ANSWERS, *kinds))


class _Batch:
    """The answer to a batch, in parts of which some are computed at a time.

    How many queries a part answers is known when it is there. So the others are given as many
    as the one before answered, and what a part leaves over is computed before the next is told.
    """

    def __init__(self, context: OperationContext, lattice: HeldLattice, query: PathsQuery) -> None:
        self._context = context
        self._lattice = lattice
        self._query = query
        self._takes = _estimate_part(lattice, query)
        self._running: deque[tuple[range, asyncio.Task[PathsAnswer]]] = deque()

    async def parts(self, ahead_max: int) -> AsyncGenerator[PathsAnswer]:
        """In the order of the queries; `ahead_max` at a time."""
        everything = range(len(self._query.queries))
        rest, size, at_a_time = everything, len(everything), 1
        try:
            while rest or self._running:
                while rest and len(self._running) < at_a_time:
                    self._running.append(self._begun(rest[:size]))
                    rest = rest[size:]
                queries, task = self._running.popleft()
                part = await task
                left = queries[len(part.paths) :]
                size = len(part.paths) if left else 2 * len(queries)
                if left and self._running:
                    self._running.appendleft(self._begun(left))
                elif left:
                    rest = everything[left.start :]
                at_a_time = 1 if self._context.compute.waiting else ahead_max
                yield part
        finally:
            await self._end()

    def _begun(self, queries: range) -> tuple[range, "asyncio.Task[PathsAnswer]"]:
        find = partial(_find_some, self._context, self._lattice, self._query, queries)
        admitted = queries.start > 0
        work = self._context.compute.run(self._takes, find, admitted=admitted)
        return queries, asyncio.create_task(work, name="paths")

    async def _end(self) -> None:
        tasks = [task for _, task in self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _find_at_once(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> PathsAnswer | None:
    """The path of a single query, if that takes less than a thread costs."""
    if query.region is not None:
        return None
    stop = Stop()
    if lattice.grid is None:
        is_small = estimate(lattice, query).looks <= _INLINE_LOOKS
        return _find_some(context, lattice, query, range(1), stop) if is_small else None
    if query.sites_max * len(lattice.spec.geometry.shape) > _INLINE_LOOKS:
        return None
    with context.searches.idle_on(lattice.grid) as search:
        if search is None:
            return None
        sites_max = max(1, _ATTEMPT_LOOKS // search.looks_per_site)
        finder = _SearchFinder(search, stop, sites_max, context.components.known(lattice.grid))
        try:
            return _find_with(finder, lattice, query, range(1), stop)
        except TooManySites:
            return None


def _estimate_part(lattice: HeldLattice, query: PathsQuery) -> Estimate:
    """A part goes on for a while with paths that take less than the estimate of one."""
    one = estimate(lattice, query)
    return Estimate(
        size_bytes=_PART_BYTES + one.size_bytes,
        looks=_PART_NS * LOOKS_PER_S // 10**9 + one.looks,
    )


def _query(start: Sequence[int], goal: Sequence[int]) -> PathQuery:
    return PathQuery(start=tuple(start), goal=tuple(goal))


def _find_some(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery, queries: range, stop: Stop
) -> PathsAnswer:
    """Answer some of the queries, at least one, until it took long or is large."""
    if lattice.grid is None and query.costs is None:
        return _find_with(_FormulaFinder(lattice.spec.geometry), lattice, query, queries, stop)
    sites_max = context.work_limit.sites_max(lattice)
    try:
        if query.costs is not None:
            cheapest = _CostFinder(grid_with_costs(lattice), query.costs, stop, sites_max)
            return _find_with(cheapest, lattice, query, queries, stop)
        assert lattice.grid is not None
        with context.searches.on(lattice.grid, stop.flag) as search:
            finder = _IndexingFinder(search, stop, sites_max, context.components)
            return _find_with(finder, lattice, query, queries, stop)
    except TooManySites:
        raise context.work_limit.exceeded(lattice) from None


def _find_with(
    finder: "_Finder", lattice: HeldLattice, query: PathsQuery, queries: range, stop: Stop
) -> PathsAnswer:
    began_ns = time.perf_counter_ns()
    geometry = lattice.spec.geometry
    paths: list[Path] = []
    size_bytes = expanded = 0
    for pair in query.queries[queries.start : queries.stop]:
        stop.check()
        path = finder.find(pair).listing(
            geometry.shape, geometry.periodic, pair.start, query.sites_max
        )
        paths.append(path)
        size_bytes += path.nbytes
        expanded += path.sites_expanded
        if size_bytes > _PART_BYTES or time.perf_counter_ns() - began_ns > _PART_NS:
            break
    computation = Computation(
        method=finder.method,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=expanded,
        memory_bytes=size_bytes + finder.bytes_held,
        exact=all(path.length <= finder.exact_length for path in paths),
        costs_digest=digest_of(query.costs),
    )
    looked_at = b"" if query.region is None else _looked_at(finder, lattice, query.region)
    return PathsAnswer(queries.start, paths, computation, looked_at)


def _looked_at(finder: "_Finder", lattice: HeldLattice, region: Selection) -> bytes:
    """What was looked at to find the last path, a bit for each site of a region."""
    indices = region.indices(lattice.spec.geometry, slice(0, region.count))
    if isinstance(indices, slice):
        indices = np.arange(indices.start, indices.stop)
    return np.packbits(finder.looked_at(indices), bitorder="little").tobytes()


class _Finder(Protocol):
    """Finds paths one after the other; no site is listed yet."""

    @property
    def method(self) -> Method: ...

    @property
    def bytes_held(self) -> int: ...

    @property
    def exact_length(self) -> float:
        """Up to which length no other path is shorter than one that is found."""

    def find(self, query: PathQuery) -> Path: ...

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some sites, by their C-order indices, were looked at for the last path."""


class _FormulaFinder:
    """Paths on a lattice without blocked sites, in closed form."""

    method = Method.CLOSED_FORM
    bytes_held = 0
    exact_length = math.inf

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    def find(self, query: PathQuery) -> Path:
        runs = self._geometry.runs(query.start, query.goal)
        axis_count = len(self._geometry.shape)
        return Path.along(
            np.array([run.step for run in runs], np.int8).reshape(-1, axis_count),
            np.array([run.count for run in runs], np.int64),
        )

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.zeros(len(sites), np.bool_)


class _CostFinder:
    """Paths over sites that have costs."""

    method = Method.DIJKSTRA
    exact_length = math.inf

    def __init__(self, grid: Grid, costs: SiteCosts, stop: Stop, sites_max: int | None) -> None:
        self._grid = grid
        self._costs = costs
        self._stop = stop
        self._sites_max = sites_max
        self._search: CostSearch | None = None

    @property
    def bytes_held(self) -> int:
        return bytes_to_search_costs(self._grid)

    def find(self, query: PathQuery) -> Path:
        """Raises `TooManySites`."""
        self._search = search_cheapest(
            self._grid, self._costs, query.start, query.goal, self._stop.flag, self._sites_max
        )
        return self._search.path(self._grid.index(query.goal))

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        assert self._search is not None, "something was found"
        return np.isfinite(self._search.lengths(sites))


class _SearchFinder:
    """Paths on a lattice with blocked sites, by search where there are any."""

    def __init__(
        self, search: Search, stop: Stop, sites_max: int | None, components: Components | None
    ) -> None:
        self.method = Method(search.method)
        self.exact_length = search.grid.exact_length
        self._search = search
        self._stop = stop
        self._sites_max = sites_max
        self._components = components
        self._has_searched = False

    @property
    def bytes_held(self) -> int:
        return self._search.bytes_held

    def find(self, query: PathQuery) -> Path:
        """Raises `TooManySites`."""
        if self._components is not None and not self._are_joined(query, self._components):
            self._has_searched = False
            return Path.none(len(self._search.grid.shape))
        self._has_searched = True
        return self._search.find(query.start, query.goal, self._stop.flag, self._sites_max)

    def looked_at(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of none where it was known without a search that no way leads there."""
        if not self._has_searched:
            return np.zeros(len(sites), np.bool_)
        return self._search.looked_at(sites)

    def _are_joined(self, query: PathQuery, components: Components) -> bool:
        grid = self._search.grid
        return components.joins(grid.coordinates(query.start), grid.coordinates(query.goal))


class _IndexingFinder(_SearchFinder):
    """The same, and finds the components of a lattice once a search takes long.

    A search for a path that there is not expands all that it reaches, each time anew. Finding
    the components takes as long as about one of them.
    """

    def __init__(
        self, search: Search, stop: Stop, sites_max: int | None, index: ComponentIndex
    ) -> None:
        super().__init__(search, stop, sites_max, index.known(search.grid))
        self._index = index
        self._probe_max = search.grid.sites // _PROBE_SHARE

    def find(self, query: PathQuery) -> Path:
        grid = self._search.grid
        if self._components is not None or not self._index.covers(grid):
            return super().find(query)
        if self._sites_max is None or self._probe_max < self._sites_max:
            try:
                self._has_searched = True
                return self._search.find(query.start, query.goal, self._stop.flag, self._probe_max)
            except TooManySites:
                self._components = self._index.ensured(grid, self._stop.flag)
        return super().find(query)
