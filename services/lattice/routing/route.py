"""Shortest routes through stops, of which each is one of some sites."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop as StopFlag
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.free import free_distances
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.runs import Path
from services.lattice.kernels.slices import TooManySites
from services.lattice.kernels.warm import ANSWERS, WEIGHTED
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import (
    CostQuery,
    CostSearch,
    bytes_to_search_costs,
    cost_search,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import digest_of, grid_with_costs, unit_costs
from services.plumbing.errors import Violations

_COST_SHARE = 3
"""A neighbour takes about so many times as long where sites have costs."""
_PAIR_LOOKS = 8


@dataclass(frozen=True, kw_only=True)
class RouteQuery:
    """Two stops or more, each of one free site or more."""

    stops: Sequence[Sequence[Site]]
    sites_max: int
    costs: SiteCosts | None = None


@dataclass(frozen=True, eq=False)
class Leg:
    """The path from one stop to the next, and at which of its sites it ends."""

    path: Path
    goal: int


@dataclass(frozen=True, eq=False)
class Route:
    """Where it begins, and its legs; none where there is no route."""

    start: int
    legs: Sequence[Leg]
    length: float
    computation: Computation


def route_query(
    spec: LatticeSpec,
    stops: Sequence[Sequence[Sequence[int]]],
    sites_max: int,
    costs: SiteCosts | None,
) -> RouteQuery:
    """Check that all sites are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    for n, sites in enumerate(stops):
        for m, site in enumerate(sites):
            check_free_site(spec, site, f"stops[{n}].sites[{m}]", bad)
    bad.raise_if_any()
    return RouteQuery(
        stops=[[tuple(site) for site in sites] for sites in stops],
        sites_max=sites_max,
        costs=costs,
    )


async def find_route(context: OperationContext, lattice: HeldLattice, query: RouteQuery) -> Route:
    """Find the route. Raises WorkTooLarge."""
    numbers = query.sites_max * len(query.stops) * len(lattice.spec.geometry.shape)
    searched = lattice.grid is not None or query.costs is not None
    if searched:
        looks = numbers + (len(query.stops) - 1) * _COST_SHARE * lattice.looks_max
        size_bytes = 8 * numbers + bytes_to_search_costs(grid_with_costs(lattice))
        context.work_limit.check_looks(looks)
        context.work_limit.check_bytes(size_bytes)
    else:
        pairs = sum(len(a) * len(b) for a, b in zip(query.stops, query.stops[1:], strict=False))
        looks = numbers + _PAIR_LOOKS * pairs * len(lattice.spec.geometry.shape)
        size_bytes = 8 * numbers + 100 * max(map(len, query.stops)) * 10
    await context.compilation.ready((ANSWERS, WEIGHTED) if searched else (ANSWERS,))
    find = partial(_find, lattice, query, searched=searched)
    try:
        route = await context.compute.run(Estimate(size_bytes=size_bytes, looks=looks), find)
    except TooManySites:
        raise context.work_limit.exceeded(lattice) from None
    context.record(route.computation)
    return route


def _find(lattice: HeldLattice, query: RouteQuery, stop: StopFlag, *, searched: bool) -> Route:
    began_ns = time.perf_counter_ns()
    by = _Searched(lattice, query) if searched else _Free(lattice.spec.geometry)
    begun = [(0.0, -1, Path.none(len(lattice.spec.geometry.shape)))] * len(query.stops[0])
    layers = [begun]
    for sites, onward in zip(query.stops, query.stops[1:], strict=False):
        reached = [(paid, site) for (paid, _, _), site in zip(layers[-1], sites, strict=True)]
        layers.append(by.advance(reached, onward, stop))
    return _read_off(lattice.spec.geometry, query, layers, by, began_ns)


Step = tuple[float, int, Path]
"""How far a site of a stop is from the beginning, the site of the stop before, and the path."""


def _read_off(
    geometry: Geometry,
    query: RouteQuery,
    layers: Sequence[Sequence[Step]],
    by: "_Searched | _Free",
    began_ns: int,
) -> Route:
    goal = min(range(len(layers[-1])), key=lambda place: layers[-1][place][0])
    length = layers[-1][goal][0]
    legs: list[Leg] = []
    while length < math.inf and len(legs) < len(layers) - 1:
        _, came, path = layers[-1 - len(legs)][goal]
        site = query.stops[-2 - len(legs)][came]
        legs.append(
            Leg(path.listing(geometry.shape, geometry.periodic, site, query.sites_max), goal)
        )
        goal = came
    computation = Computation(
        method=by.method,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=by.sites_expanded,
        memory_bytes=by.bytes_held + sum(leg.path.nbytes for leg in legs),
        costs_digest=digest_of(query.costs),
    )
    is_reachable = length < math.inf
    return Route(
        goal if is_reachable else 0, legs[::-1], length if is_reachable else 0.0, computation
    )


class _Free:
    """Legs by formula."""

    method = Method.CLOSED_FORM
    sites_expanded = 0
    bytes_held = 0

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    def advance(
        self, reached: Sequence[tuple[float, Site]], onward: Sequence[Site], stop: StopFlag
    ) -> list[Step]:
        mesh = list(np.array(onward, np.int64).T)
        nearest = np.full(len(onward), np.inf)
        came = np.zeros(len(onward), np.int64)
        for place, (paid, site) in enumerate(reached):
            lengths = paid + free_distances(self._geometry, [site], mesh, stop.check)
            came = np.where(lengths < nearest, place, came)
            nearest = np.minimum(nearest, lengths)
        return [
            (float(length), place, self._path(reached[place][1], site))
            for length, place, site in zip(nearest, came.tolist(), onward, strict=True)
        ]

    def _path(self, start: Site, goal: Site) -> Path:
        runs = self._geometry.runs(start, goal)
        axis_count = len(self._geometry.shape)
        return Path.along(
            np.array([run.step for run in runs], np.int8).reshape(-1, axis_count),
            np.array([run.count for run in runs], np.int64),
        )


class _Searched:
    """Legs by search: one from all sites of a stop at once, each begun with what it cost."""

    method = Method.DIJKSTRA

    def __init__(self, lattice: HeldLattice, query: RouteQuery) -> None:
        self._grid: Grid = grid_with_costs(lattice)
        self._costs = query.costs or unit_costs(lattice.spec)
        self._exact_lengths = query.costs is None
        self.sites_expanded = 0
        self.bytes_held = 0

    def advance(
        self, reached: Sequence[tuple[float, Site]], onward: Sequence[Site], stop: StopFlag
    ) -> list[Step]:
        cheapest: dict[int, tuple[float, int]] = {}
        for place, (paid, site) in enumerate(reached):
            index = self._grid.index(site)
            if paid < cheapest.get(index, (math.inf, 0))[0]:
                cheapest[index] = paid, place
        targets = np.array([self._grid.index(site) for site in onward], np.int64)
        if not cheapest:
            return [(math.inf, 0, Path.none(len(self._grid.shape)))] * len(onward)
        asked = CostQuery(
            sources=np.array(list(cheapest), np.int64),
            offsets=np.array([paid for paid, _ in cheapest.values()]),
            targets=targets,
            traced=True,
        )
        search = cost_search(self._grid, self._costs, asked, stop.flag)
        search.run(stop.flag)
        self.sites_expanded += search.sites_expanded
        self.bytes_held = max(self.bytes_held, search.bytes_held)
        return [self._step(search, cheapest, targets, place) for place in range(len(onward))]

    def _step(
        self,
        search: CostSearch,
        cheapest: dict[int, tuple[float, int]],
        targets: NDArray[np.int64],
        place: int,
    ) -> Step:
        goal = int(targets[place])
        path = search.path(goal)
        if not path.found:
            return math.inf, 0, path
        paid, came = cheapest[search.source_of(path, goal)]
        if self._exact_lengths:
            leg = Path.along(path.run_steps, path.run_counts)
        else:
            leg = replace(path, length=max(0.0, path.length - paid))
        return path.length, came, leg
