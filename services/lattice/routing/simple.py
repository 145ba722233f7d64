"""All simple paths between two sites up to a length, streamed."""

import math
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.estimate import LOOKS_PER_S, Estimate
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
from services.lattice.kernels.grid import Grid, prepare
from services.lattice.kernels.lengths import rounded_bound
from services.lattice.kernels.routing.simple import SimplePath, SimplePathSearch, bytes_to_walk
from services.lattice.kernels.runs import Path, runs_of
from services.lattice.kernels.warm import ANSWERS, ROUTING
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs
from services.plumbing.errors import Violations

STEPS_DEFAULT = 1_000
PATHS_DEFAULT = 10_000
_PART_NS = 50_000_000
_PART_BYTES = 1 << 20
"""A part ends once it took so long or its arrays take so many bytes."""


@dataclass(frozen=True, kw_only=True)
class SimplePathsQuery:
    """Between which sites, how long, and how many at most."""

    start: Site
    goal: Site
    length_max: float
    steps_max: int
    paths_max: int
    costs: SiteCosts | None = None


@dataclass(frozen=True, eq=False)
class SimplePathsAnswer:
    """Some of the paths."""

    first_path: int
    paths: Sequence[Path]
    is_last: bool
    is_complete: bool
    computation: Computation


def simple_paths_query(
    spec: LatticeSpec,
    start: Sequence[int],
    goal: Sequence[int],
    *,
    length_max: float,
    steps_max: int,
    paths_max: int,
    costs: SiteCosts | None,
) -> SimplePathsQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    check_free_site(spec, start, "start", bad)
    check_free_site(spec, goal, "goal", bad)
    bad.raise_if_any()
    return SimplePathsQuery(
        start=tuple(start),
        goal=tuple(goal),
        length_max=length_max,
        steps_max=steps_max or STEPS_DEFAULT,
        paths_max=paths_max or PATHS_DEFAULT,
        costs=costs,
    )


async def find_simple_paths(
    context: OperationContext, lattice: HeldLattice, query: SimplePathsQuery
) -> AsyncGenerator[SimplePathsAnswer]:
    """Yield parts of some paths each. Raises WorkTooLarge."""
    box = _box(lattice, query)
    sites = math.prod(box.shape)
    looks = sites * (3 ** len(box.shape) if lattice.spec.geometry.moore else 2 * len(box.shape))
    context.work_limit.check_looks(looks)
    if sites > BLOCKABLE_SITES_MAX:
        raise WorkTooLarge(
            "paths of this length pass more sites than are looked at",
            estimate=sites,
            limit=BLOCKABLE_SITES_MAX,
        )
    await context.compilation.ready((ANSWERS, ROUTING))
    walked = bytes_to_walk(len(box.shape), min(box.steps_max, sites), moore=box.moore)
    estimate = Estimate(
        size_bytes=60 * sites + walked + _PART_BYTES,
        looks=looks + _PART_NS * LOOKS_PER_S // 10**9,
    )
    context.work_limit.check_bytes(estimate.size_bytes)
    walk = _Walk(lattice, query, box)
    is_last = False
    async with context.send_budget.reserved(_PART_BYTES):
        while not is_last:
            part = await context.compute.run(estimate, walk.some, admitted=walk.answered_count > 0)
            context.record(part.computation)
            is_last = part.is_last
            async with context.consumed_in_time():
                yield part


@dataclass(frozen=True, kw_only=True)
class _Box:
    """The sites that a path may pass, as a lattice of their own: where a search is set up."""

    origin: Site
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    moore: bool
    steps_max: int


def _box(lattice: HeldLattice, query: SimplePathsQuery) -> _Box:
    """On a free lattice a path leaves the box of its ends by half of its detour at most."""
    geometry = lattice.spec.geometry
    whole = _Box(
        origin=(0,) * len(geometry.shape),
        shape=geometry.shape,
        periodic=geometry.periodic,
        moore=geometry.moore,
        steps_max=query.steps_max,
    )
    if lattice.grid is not None or query.costs is not None:
        return whole
    steps = min(query.steps_max, int(rounded_bound(query.length_max)))
    axes = [
        _span(geometry, axis, query.start[axis], query.goal[axis], steps)
        for axis in range(len(geometry.shape))
    ]
    return replace(
        whole,
        origin=tuple(origin for origin, _, _ in axes),
        shape=tuple(length for _, length, _ in axes),
        periodic=tuple(ring for _, _, ring in axes),
        steps_max=steps,
    )


def _span(geometry: Geometry, axis: int, a: int, b: int, steps: int) -> tuple[int, int, bool]:
    """Where a box begins on an axis, how long it is, and whether it is the whole ring."""
    length, ring = geometry.shape[axis], geometry.periodic[axis]
    if ring:
        # What leads around it may come from either side: all that is near enough to the start.
        return (0, length, True) if 2 * steps + 1 >= length else (a - steps, 2 * steps + 1, False)
    margin = max(0, (steps - abs(a - b)) // (1 if geometry.moore else 2))
    first, last = max(0, min(a, b) - margin), min(length - 1, max(a, b) + margin)
    return first, last - first + 1, False


class _Walk:
    """A search that goes on from one part of the answer to the next."""

    def __init__(self, lattice: HeldLattice, query: SimplePathsQuery, box: _Box) -> None:
        self.answered_count = 0
        """How many paths."""
        self._lattice = lattice
        self._query = query
        self._box = box
        self._search: SimplePathSearch | None = None

    def some(self, stop: Stop) -> SimplePathsAnswer:
        """Find some paths, until it took long or they are many."""
        began_ns, first = time.perf_counter_ns(), self.answered_count
        search = self._search or self._begun(stop)
        paths: list[Path] = []
        expanded = size_bytes = 0
        is_complete = search is None
        while search is not None and self.answered_count < self._query.paths_max:
            path = search.next(stop.flag)
            if path is None:
                is_complete = True
                break
            expanded += path.sites_expanded
            paths.append(self._path(path))
            size_bytes += paths[-1].nbytes
            self.answered_count += 1
            if size_bytes > _PART_BYTES or time.perf_counter_ns() - began_ns > _PART_NS:
                break
        computation = Computation(
            method=Method.DEPTH_FIRST,
            elapsed_ns=time.perf_counter_ns() - began_ns,
            sites_expanded=expanded,
            memory_bytes=size_bytes + (search.bytes_held if search else 0),
            costs_digest=digest_of(self._query.costs),
        )
        is_last = is_complete or self.answered_count == self._query.paths_max
        return SimplePathsAnswer(first, paths, is_last, is_complete, computation)

    def _begun(self, stop: Stop) -> SimplePathSearch | None:
        """Set up the search; None where the goal is out of reach."""
        box, query = self._box, self._query
        grid = self._grid()
        start, goal = self._placed(query.start), self._placed(query.goal)
        if any(at >= length for at, length in zip(goal, box.shape, strict=True)):
            return None
        costs = query.costs or SiteCosts(np.ones(grid.sites, np.uint8), mean=False)
        steps_max = min(box.steps_max, grid.sites)
        self._search = SimplePathSearch(
            grid, costs, grid.index(start), grid.index(goal), query.length_max, steps_max, stop.flag
        )
        return self._search

    def _grid(self) -> Grid:
        box, geometry = self._box, self._lattice.spec.geometry
        if box.shape == geometry.shape:
            return grid_with_costs(self._lattice)
        return prepare(
            box.shape, box.periodic, moore=box.moore, no_cutting=geometry.no_cutting, blocked=b""
        )

    def _placed(self, site: Site) -> Site:
        """Where a site lies in the box."""
        shape, origin = self._lattice.spec.geometry.shape, self._box.origin
        return tuple(
            (at - first) % length for at, first, length in zip(site, origin, shape, strict=True)
        )

    def _path(self, walked: SimplePath) -> Path:
        path = Path.along(*runs_of(walked.steps))
        return path if self._query.costs is None else replace(path, length=walked.length)
