"""Shortest routes through stops, of which each is one of some sites."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop as StopFlag
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.errors import AnswerTooLarge
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
_MESSAGE_SHARE = 2
"""A run takes less than so many times as many bytes as in a message."""


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


async def find_route(
    context: OperationContext, lattice: HeldLattice, query: RouteQuery, *, message_bytes_max: int
) -> Route:
    """Find the route. Raises WorkTooLarge, and AnswerTooLarge when no message can hold it."""
    geometry = lattice.spec.geometry
    axis_count = len(geometry.shape)
    numbers = query.sites_max * len(query.stops) * axis_count
    searched = lattice.grid is not None or query.costs is not None
    legs_bytes_max = _MESSAGE_SHARE * message_bytes_max
    if searched:
        looks = numbers + _search_count(query) * _COST_SHARE * lattice.looks_max
        legs_bytes = (len(query.stops) - 1) * (axis_count + 8) * geometry.sites
        size_bytes = 8 * numbers + min(legs_bytes_max, legs_bytes)
        size_bytes += bytes_to_search_costs(grid_with_costs(lattice))
        context.work_limit.check_looks(looks)
        context.work_limit.check_bytes(size_bytes)
    else:
        pairs = sum(len(a) * len(b) for a, b in zip(query.stops, query.stops[1:], strict=False))
        looks = numbers + _PAIR_LOOKS * pairs * axis_count
        size_bytes = 8 * (numbers + 2 * sum(map(len, query.stops)))
    await context.compilation.ready((ANSWERS, WEIGHTED) if searched else (ANSWERS,))
    find = partial(_find, lattice, query, legs_bytes_max, searched=searched)
    try:
        route = await context.compute.run(Estimate(size_bytes=size_bytes, looks=looks), find)
    except TooManySites:
        raise context.work_limit.exceeded(lattice) from None
    context.record(route.computation)
    return route


def _search_count(query: RouteQuery) -> int:
    """One for each leg, and another for each whose end is known only once all are searched."""
    chosen_late = [sites for sites in query.stops[1:-1] if _has_choice(sites)]
    return len(query.stops) - 1 + len(chosen_late)


def _has_choice(sites: Sequence[Site]) -> bool:
    return len(set(sites)) > 1


def _find(
    lattice: HeldLattice,
    query: RouteQuery,
    legs_bytes_max: int,
    stop: StopFlag,
    *,
    searched: bool,
) -> Route:
    """How far all sites of all stops are, and then the legs to those that are chosen alone."""
    began_ns = time.perf_counter_ns()
    by = _Searched(lattice, query, legs_bytes_max) if searched else _Free(lattice, query)
    paid = [np.zeros(len(query.stops[0]))]
    for place in range(len(query.stops) - 1):
        paid.append(by.advance(place, paid[-1], stop))
    length = float(paid[-1].min())
    start, legs = _read_off(query, lattice.spec.geometry, paid, by, stop)
    computation = Computation(
        method=by.method,
        elapsed_ns=time.perf_counter_ns() - began_ns,
        sites_expanded=by.sites_expanded,
        memory_bytes=by.bytes_held + sum(leg.path.nbytes for leg in legs),
        costs_digest=digest_of(query.costs),
    )
    return Route(start, legs, length if length < math.inf else 0.0, computation)


def _read_off(
    query: RouteQuery,
    geometry: Geometry,
    paid: Sequence[NDArray[np.float64]],
    by: "_Searched | _Free",
    stop: StopFlag,
) -> tuple[int, list[Leg]]:
    """Where the route begins, and its legs, from how far all sites are; none where none leads."""
    goal = int(paid[-1].argmin())
    if paid[-1][goal] == math.inf:
        return 0, []
    legs: list[Leg] = []
    for place in reversed(range(len(query.stops) - 1)):
        came, path = by.leg(place, paid[place], goal, stop)
        site = query.stops[place][came]
        listed = path.listing(geometry.shape, geometry.periodic, site, query.sites_max)
        legs.append(Leg(listed, goal))
        goal = came
    return goal, legs[::-1]


class _Free:
    """Legs by formula."""

    method = Method.CLOSED_FORM
    sites_expanded = 0
    bytes_held = 0

    def __init__(self, lattice: HeldLattice, query: RouteQuery) -> None:
        self._geometry = lattice.spec.geometry
        self._query = query
        self._came: list[NDArray[np.int64]] = []

    def advance(self, place: int, paid: NDArray[np.float64], stop: StopFlag) -> NDArray[np.float64]:
        """How far the sites of the next stop are, from how far those of this one are."""
        onward = self._query.stops[place + 1]
        mesh = list(np.array(onward, np.int64).T)
        nearest = np.full(len(onward), np.inf)
        came = np.zeros(len(onward), np.int64)
        for source, site in enumerate(self._query.stops[place]):
            lengths = paid[source] + free_distances(self._geometry, [site], mesh, stop.check)
            came = np.where(lengths < nearest, source, came)
            nearest = np.minimum(nearest, lengths)
        self._came.append(came)
        return nearest

    def leg(
        self, place: int, _paid: NDArray[np.float64], goal: int, _stop: StopFlag
    ) -> tuple[int, Path]:
        """At which site of a stop the way to one of the next begins, and that way."""
        came = int(self._came[place][goal])
        stops = self._query.stops
        runs = self._geometry.runs(stops[place][came], stops[place + 1][goal])
        axis_count = len(self._geometry.shape)
        path = Path.along(
            np.array([run.step for run in runs], np.int8).reshape(-1, axis_count),
            np.array([run.count for run in runs], np.int64),
        )
        return came, path


class _Searched:
    """Legs by search: one from all sites of a stop at once, each begun with what it cost.

    A way is read off at once where it is known that the route takes it: to a stop of one site,
    and to the last. The others are searched again once the route is known, since what tells all
    ways takes a byte a site and leg.
    """

    method = Method.DIJKSTRA

    def __init__(self, lattice: HeldLattice, query: RouteQuery, legs_bytes_max: int) -> None:
        self._grid: Grid = grid_with_costs(lattice)
        self._costs = query.costs or unit_costs(lattice.spec)
        self._exact_lengths = query.costs is None
        self._stops = query.stops
        self._legs: dict[int, tuple[int, Path]] = {}
        self._legs_bytes = 0
        self._legs_bytes_max = legs_bytes_max
        self.sites_expanded = 0
        self.bytes_held = 0

    def advance(self, place: int, paid: NDArray[np.float64], stop: StopFlag) -> NDArray[np.float64]:
        """As `_Free.advance`: infinite where no way leads."""
        onward = self._stops[place + 1]
        begun = self._begun(place, paid)
        if not begun:
            return np.full(len(onward), math.inf)
        is_last = place + 2 == len(self._stops)
        traced = is_last or not _has_choice(onward)
        search = self._search(begun, onward, stop, traced=traced)
        lengths = search.lengths(np.array([self._grid.index(site) for site in onward], np.int64))
        if traced:
            self._keep(place, search, begun, int(lengths.argmin()))
        return lengths

    def leg(
        self, place: int, paid: NDArray[np.float64], goal: int, stop: StopFlag
    ) -> tuple[int, Path]:
        """As `_Free.leg`. Raises AnswerTooLarge."""
        if place not in self._legs and self._legs_bytes <= self._legs_bytes_max:
            begun = self._begun(place, paid)
            search = self._search(begun, [self._stops[place + 1][goal]], stop, traced=True)
            self._keep(place, search, begun, goal)
        if self._legs_bytes > self._legs_bytes_max:
            raise AnswerTooLarge("the route has more runs than one message holds")
        return self._legs.pop(place)

    def _begun(self, place: int, paid: NDArray[np.float64]) -> dict[int, tuple[float, int]]:
        """What each site of a stop that is reached has cost, and where it is in the stop."""
        cheapest: dict[int, tuple[float, int]] = {}
        for at, (cost, site) in enumerate(zip(paid.tolist(), self._stops[place], strict=True)):
            index = self._grid.index(site)
            if cost < cheapest.get(index, (math.inf, 0))[0]:
                cheapest[index] = cost, at
        return cheapest

    def _search(
        self,
        begun: Mapping[int, tuple[float, int]],
        onward: Sequence[Site],
        stop: StopFlag,
        *,
        traced: bool,
    ) -> CostSearch:
        asked = CostQuery(
            sources=np.array(list(begun), np.int64),
            offsets=np.array([cost for cost, _ in begun.values()]),
            targets=np.unique([self._grid.index(site) for site in onward]),
            traced=traced,
        )
        search = cost_search(self._grid, self._costs, asked, stop.flag)
        search.run(stop.flag)
        self.sites_expanded += search.sites_expanded
        self.bytes_held = max(self.bytes_held, search.bytes_held)
        return search

    def _keep(
        self,
        place: int,
        search: CostSearch,
        begun: Mapping[int, tuple[float, int]],
        goal: int,
    ) -> None:
        """Read off a leg of the route, and hold it if all of them still fit."""
        index = self._grid.index(self._stops[place + 1][goal])
        path = search.path(index)
        if not path.found:
            return
        paid, came = begun[search.source_of(path, index)]
        self._legs_bytes += path.nbytes
        if self._legs_bytes <= self._legs_bytes_max:
            self._legs[place] = came, self._alone(path, paid)

    def _alone(self, path: Path, paid: float) -> Path:
        """Without what was paid before it."""
        if self._exact_lengths:
            return Path.along(path.run_steps, path.run_counts)
        return replace(path, length=max(0.0, path.length - paid))
