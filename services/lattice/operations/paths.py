"""Shortest paths between sites: what is asked, what it takes, how it is computed and answered."""

import math
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

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
from services.lattice.geometry import Geometry
from services.lattice.kernels.runs import Path
from services.lattice.kernels.searches import Search, bytes_to_search
from services.lattice.kernels.slices import TooManySites
from services.lattice.operations.context import OperationContext
from services.plumbing.errors import Violations

_PART_NS = 50_000_000
_PART_BYTES = 1 << 20
"""A part of an answer to a batch ends once it took so long or its arrays take so many bytes."""

_INLINE_LOOKS = 1 << 15
"""What takes no more is computed at once: a millisecond at most, less than a thread costs."""


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


@dataclass(frozen=True, eq=False)
class PathAnswer:
    """One path, and how it was computed."""

    path: Path
    computation: Computation


@dataclass(frozen=True, eq=False)
class PathsAnswer:
    """Some paths of a batch, from the query `first_query` on, computed together."""

    first_query: int
    paths: Sequence[Path]
    computation: Computation


def path_query(
    spec: LatticeSpec, start: Sequence[int], goal: Sequence[int], sites_max: int
) -> PathsQuery:
    """Check that the sites of a query are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    check_free_site(spec, start, "start", bad)
    check_free_site(spec, goal, "goal", bad)
    bad.raise_if_any()
    return PathsQuery(queries=[_query(start, goal)], sites_max=sites_max)


def paths_query(
    spec: LatticeSpec, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], sites_max: int
) -> PathsQuery:
    """The same for a batch of starts and goals."""
    bad = Violations()
    for n, (start, goal) in enumerate(pairs):
        check_free_site(spec, start, f"queries[{n}].start", bad)
        check_free_site(spec, goal, f"queries[{n}].goal", bad)
    bad.raise_if_any()
    return PathsQuery(queries=[_query(start, goal) for start, goal in pairs], sites_max=sites_max)


def estimate(lattice: HeldLattice, query: PathsQuery) -> Estimate:
    """What one path takes at most: the search, if no formula answers, and the listed sites."""
    numbers = query.sites_max * len(lattice.spec.geometry.shape)
    if lattice.grid is None:
        return Estimate(size_bytes=8 * numbers, looks=numbers)
    return Estimate(
        size_bytes=8 * numbers + bytes_to_search(lattice.grid), looks=numbers + lattice.looks_max
    )


async def find_path(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> PathAnswer:
    """Find the path of a single query."""
    find, takes = partial(_find_some, context, lattice, query, 0), estimate(lattice, query)
    if lattice.grid is None and takes.looks <= _INLINE_LOOKS:
        answer = find(Stop())
    else:
        answer = await context.compute.run(takes, find)
    context.record(answer.computation)
    return PathAnswer(answer.paths[0], answer.computation)


async def find_paths(
    context: OperationContext, lattice: HeldLattice, query: PathsQuery
) -> AsyncGenerator[PathsAnswer]:
    """Find paths in the order of the queries and yield them as they come.

    No more than one part of the answer is in memory at a time, and nothing is computed while
    the caller looks at it. The arrays of a part take 1 MiB and one path more at most.
    """
    takes = _estimate_part(lattice, query)
    first = 0
    async with context.send_budget.reserved(_PART_BYTES):
        while first < len(query.queries):
            find = partial(_find_some, context, lattice, query, first)
            answer = await context.compute.run(takes, find, admitted=first > 0)
            context.record(answer.computation)
            async with context.consumed_in_time():
                yield answer
            first += len(answer.paths)


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
    context: OperationContext, lattice: HeldLattice, query: PathsQuery, first: int, stop: Stop
) -> PathsAnswer:
    """Answer queries from `first` on, at least one, until it took long or is large."""
    if lattice.grid is None:
        return _find_with(_FormulaFinder(lattice.spec.geometry), lattice, query, first, stop)
    sites_max = context.work_limit.sites_max(lattice)
    try:
        with context.searches.on(lattice.grid, stop.flag) as search:
            finder = _SearchFinder(search, stop, sites_max)
            return _find_with(finder, lattice, query, first, stop)
    except TooManySites:
        raise context.work_limit.exceeded(lattice) from None


def _find_with(
    finder: "_Finder", lattice: HeldLattice, query: PathsQuery, first: int, stop: Stop
) -> PathsAnswer:
    began_ns = time.perf_counter_ns()
    geometry = lattice.spec.geometry
    paths: list[Path] = []
    size_bytes = expanded = 0
    for pair in query.queries[first:]:
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
    )
    return PathsAnswer(first, paths, computation)


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


class _SearchFinder:
    """Paths on a lattice with blocked sites, by search."""

    def __init__(self, search: Search, stop: Stop, sites_max: int | None) -> None:
        self.method = Method(search.method)
        self.exact_length = search.grid.exact_length
        self._search = search
        self._stop = stop
        self._sites_max = sites_max

    @property
    def bytes_held(self) -> int:
        return self._search.bytes_held

    def find(self, query: PathQuery) -> Path:
        return self._search.find(query.start, query.goal, self._stop.flag, self._sites_max)
