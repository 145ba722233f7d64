"""Answers questions about lattices held in memory: in closed form, or by kernels in threads.

Knows neither where lattices come from nor how answers are told.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing import answers
from services.lattice.computing.answers import DistancesAnswer, Path, PathAnswer, PathsAnswer
from services.lattice.computing.compute import Compute, Stop
from services.lattice.computing.search_pool import SearchPool
from services.lattice.domain import (
    Computation,
    DistanceQuery,
    Lattice,
    LatticeSpec,
    Method,
    PathQuery,
)
from services.lattice.errors import AnswerTooLarge, ConsumerTooSlow
from services.lattice.geometry import Geometry
from services.lattice.kernels import distances
from services.lattice.kernels.counting import bytes_to_count, count_edges, count_vertices
from services.lattice.kernels.grid import Grid, prepare
from services.lattice.kernels.searches import Path as FoundPath
from services.lattice.kernels.searches import Search, bytes_to_search

_PART_NS = 50_000_000
_PART_BYTES = 1 << 20
"""A part of an answer to a batch ends once it took so long or takes so many bytes."""

_PIECE_BYTES = 1 << 16
"""The most of a bitmap that is told at once: the contract says so."""

_ARRAYS = 3
"""Arrays of a number per site and axis that distances are computed in, in closed form."""


@dataclass(frozen=True, eq=False)
class HeldLattice:
    """A lattice in memory. `grid` is set when some of its sites are blocked."""

    lattice: Lattice
    spec: LatticeSpec
    grid: Grid | None

    @classmethod
    def of(cls, lattice: Lattice, spec: LatticeSpec) -> "HeldLattice":
        return cls(lattice, spec, None if spec.free else grid_of(spec))


class Instruments(Protocol):
    """Who counts what is computed."""

    def computed(self, computation: Computation) -> None:
        """An answer, or a part of one, was computed."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The sites of a lattice that are not blocked, and the pairs of them that a step joins."""

    vertices: int
    edges: int


class Engine:
    """Computes on lattices, so much at once as `compute` admits.

    Everything raises ComputeBusy when as much waits as may wait, before it has begun. What
    comes in parts is read by one task, which lets the generator be closed in it when it is
    cancelled: a part that it does not take in time ends its reading with ConsumerTooSlow.
    """

    def __init__(
        self,
        compute: Compute,
        searches: SearchPool,
        instruments: Instruments,
        *,
        answer_bytes_max: int,
        part_timeout_s: float,
    ) -> None:
        self._compute = compute
        self._searches = searches
        self._instruments = instruments
        self._answer_bytes_max = answer_bytes_max
        self._part_timeout_s = part_timeout_s

    async def size(self, spec: LatticeSpec) -> Size:
        """Count what a lattice has, whatever its number of sites when none is blocked."""
        if spec.free:
            return Size(vertices=spec.geometry.sites, edges=spec.geometry.edges)
        grid = grid_of(spec)
        return await self._compute.run(bytes_to_count(grid), partial(_count, grid))

    async def find_path(self, held: HeldLattice, query: PathQuery, listed_max: int) -> PathAnswer:
        """Find one path and its first sites."""
        find = partial(self._find_some, held, [query], 0, listed_max)
        if held.grid is None:
            found = find(Stop())
        else:
            found = await self._compute.run(bytes_to_search(held.grid), find)
        self._instruments.computed(found.computation)
        return PathAnswer(found.paths[0], found.computation)

    async def find_paths(
        self, held: HeldLattice, queries: Sequence[PathQuery], listed_max: int
    ) -> AsyncGenerator[PathsAnswer]:
        """Find paths in the order of the queries and yield them as they come.

        No more than one part of the answer is in memory at a time, and nothing is
        reserved while the caller looks at it.
        """
        size_bytes = _PART_BYTES + (bytes_to_search(held.grid) if held.grid else 0)
        first = 0
        while first < len(queries):
            find = partial(self._find_some, held, queries, first, listed_max)
            found = await self._compute.run(size_bytes, find, admitted=first > 0)
            self._instruments.computed(found.computation)
            async with self._taken_in_time():
                yield found
            first += len(found.paths)

    async def distances(
        self, held: HeldLattice, query: DistanceQuery
    ) -> AsyncGenerator[DistancesAnswer]:
        """Tell distances in the order asked for, so many at a time.

        On a lattice without blocked sites each part is computed when it is asked for, and
        tells its own computation. Otherwise the first tells that of the whole, and while
        the caller looks at a part no more is reserved than the values that follow it.
        """
        answer = self._free_distances if held.grid is None else self._searched_distances
        async with aclosing(answer(held, query)) as parts:
            async for part in parts:
                if part.computation is not None:
                    self._instruments.computed(part.computation)
                async with self._taken_in_time():
                    yield part

    async def blocked(self, held: HeldLattice) -> AsyncGenerator[bytes]:
        """Tell the bitmap of blocked sites in pieces; the only one is empty when it is."""
        bitmap = held.spec.blocked
        # A lattice may leave memory while its bitmap is read: what readers hold is bounded too.
        async with self._compute.reserve(len(bitmap)):
            for start in range(0, max(1, len(bitmap)), _PIECE_BYTES):
                async with self._taken_in_time():
                    yield bitmap[start : start + _PIECE_BYTES]

    def forget(self, held: HeldLattice) -> None:
        """Let go of what is kept for a lattice that will not be asked about again."""
        if held.grid is not None:
            self._searches.drop(held.grid)

    def _find_some(
        self,
        held: HeldLattice,
        queries: Sequence[PathQuery],
        first: int,
        listed_max: int,
        stop: Stop,
    ) -> PathsAnswer:
        """Answer queries from `first` on, at least one, until it took long or is large."""
        began_ns = time.perf_counter_ns()
        paths: list[Path] = []
        size_bytes = 0
        with self._finder(held, listed_max, stop) as finder:
            while first + len(paths) < len(queries):
                stop.check()
                path = finder.find(queries[first + len(paths)])
                self._check_size(path)
                if size_bytes + path.message_bytes > self._answer_bytes_max:
                    # It is rare enough to be found anew: it begins the next part.
                    break
                paths.append(path)
                size_bytes += path.message_bytes
                elapsed_ns = time.perf_counter_ns() - began_ns
                if size_bytes > _PART_BYTES or elapsed_ns > _PART_NS:
                    break
            computation = finder.computation(time.perf_counter_ns() - began_ns)
        return PathsAnswer(first, paths, computation)

    @contextmanager
    def _finder(self, held: HeldLattice, listed_max: int, stop: Stop) -> Iterator["_Finder"]:
        geometry = held.spec.geometry
        if held.grid is None:
            yield _FreeFinder(geometry, listed_max)
            return
        with self._searches.on(held.grid) as search:
            yield _SearchFinder(geometry, listed_max, search, stop)

    def _check_size(self, path: Path) -> None:
        if path.message_bytes > self._answer_bytes_max:
            raise AnswerTooLarge(
                "the path has more runs than one message can tell",
                runs=len(path.run_counts),
                steps=path.steps,
            )

    async def _free_distances(
        self, held: HeldLattice, query: DistanceQuery
    ) -> AsyncGenerator[DistancesAnswer]:
        geometry = held.spec.geometry
        size_bytes = answers.DISTANCES_PER_ANSWER * 8 * (_ARRAYS * len(geometry.shape) + 2)
        for place in answers.places(query):
            work = partial(_free_part, geometry, query, place)
            yield await self._compute.run(size_bytes, work, admitted=place.start > 0)

    async def _searched_distances(
        self, held: HeldLattice, query: DistanceQuery
    ) -> AsyncGenerator[DistancesAnswer]:
        assert held.grid is not None
        async with self._compute.reserve(distances.bytes_to_measure(held.grid)) as reservation:
            measured = await reservation.run(
                partial(_measure, held.spec.geometry, held.grid, query)
            )
            computation: Computation | None = measured.computation
            left = measured.parts
            first = 0
            while left:
                told = left.popleft().astype(np.float64)
                reservation.keep(sum(part.nbytes for part in left))
                yield DistancesAnswer(first, told, computation)
                first += len(told)
                computation = None

    @asynccontextmanager
    async def _taken_in_time(self) -> AsyncIterator[None]:
        """Around a yield: end the reading of a caller that does not come back in time.

        The timeout cancels the caller's task wherever it lingers with the part. On its way
        out the caller closes the generator, so what comes here is GeneratorExit, and what
        leaves here is what ends the caller, in place of the cancellation.
        """
        try:
            async with asyncio.timeout(self._part_timeout_s) as taken:
                yield
        except (GeneratorExit, TimeoutError):
            if taken.expired():
                raise ConsumerTooSlow(
                    "a part of the answer was not taken in time",
                    timeout_s=self._part_timeout_s,
                ) from None
            raise


@dataclass(frozen=True, eq=False)
class _Measured:
    """All the distances asked for, as narrow as they were computed, cut into answers."""

    parts: deque[NDArray[np.int32] | NDArray[np.float64]]
    computation: Computation


class _Finder(Protocol):
    """Finds paths one after the other, and tells what that took."""

    def find(self, query: PathQuery) -> Path: ...

    def computation(self, elapsed_ns: int) -> Computation: ...


class _FreeFinder:
    def __init__(self, geometry: Geometry, listed_max: int) -> None:
        self._geometry = geometry
        self._listed_max = listed_max
        self._array_bytes = 0

    def find(self, query: PathQuery) -> Path:
        path = answers.free_path(self._geometry, query, self._listed_max)
        self._array_bytes += path.array_bytes
        return path

    def computation(self, elapsed_ns: int) -> Computation:
        return Computation(
            method=Method.CLOSED_FORM,
            elapsed_ns=elapsed_ns,
            sites_expanded=0,
            memory_bytes=self._array_bytes,
        )


class _SearchFinder:
    def __init__(self, geometry: Geometry, listed_max: int, search: Search, stop: Stop) -> None:
        self._geometry = geometry
        self._listed_max = listed_max
        self._search = search
        self._stop = stop
        self._array_bytes = 0
        self._expanded = 0

    def find(self, query: PathQuery) -> Path:
        found = self._search.find(query.start, query.goal, self._stop.flag)
        self._expanded += found.sites_expanded
        path = self._made(query, found)
        self._array_bytes += path.array_bytes
        return path

    def computation(self, elapsed_ns: int) -> Computation:
        return Computation(
            method=Method(self._search.method),
            elapsed_ns=elapsed_ns,
            sites_expanded=self._expanded,
            memory_bytes=self._search.bytes_held + self._array_bytes,
        )

    def _made(self, query: PathQuery, found: FoundPath) -> Path:
        if not found.found:
            return answers.no_path(self._geometry)
        return answers.made_path(
            self._geometry,
            query,
            self._listed_max,
            (found.run_steps, found.run_counts),
            length=found.length,
            steps=found.steps,
        )


def grid_of(spec: LatticeSpec) -> Grid:
    geometry = spec.geometry
    return prepare(
        geometry.shape,
        geometry.periodic,
        moore=geometry.moore,
        no_cutting=geometry.no_cutting,
        blocked=spec.blocked,
    )


def _count(grid: Grid, stop: Stop) -> Size:
    return Size(vertices=count_vertices(grid), edges=count_edges(grid, stop.flag))


def _measure(geometry: Geometry, grid: Grid, query: DistanceQuery, stop: Stop) -> _Measured:
    """Measure everywhere, and keep what was asked for: the rest is let go of here."""
    began_ns = time.perf_counter_ns()
    field = distances.measure(grid, query.sources, stop.flag, query.targets)
    computation = Computation(
        method=Method(field.method),
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=field.sites_expanded,
        memory_bytes=field.bytes_worked,
    )
    parts = deque(
        _read_part(geometry, field, query, place, stop) for place in answers.places(query)
    )
    return _Measured(parts, computation)


def _read_part(
    geometry: Geometry, field: distances.Distances, query: DistanceQuery, place: slice, stop: Stop
) -> NDArray[np.int32] | NDArray[np.float64]:
    stop.check()
    told = field.at(answers.indices_of(geometry, answers.sites_at(query, place)))
    return told.astype(np.int32) if field.values.dtype == np.int32 else told


def _free_part(
    geometry: Geometry, query: DistanceQuery, place: slice, stop: Stop
) -> DistancesAnswer:
    began_ns = time.perf_counter_ns()
    sites = answers.sites_at(query, place)
    told = answers.free_distances(geometry, query.sources, sites, stop.check)
    computation = Computation(
        method=Method.CLOSED_FORM,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=0,
        memory_bytes=_ARRAYS * sites.nbytes + told.nbytes,
    )
    return DistancesAnswer(place.start, told, computation)
