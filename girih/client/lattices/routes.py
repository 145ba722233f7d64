"""Several ways at once: values, and what is asked of them."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from girih.client.lattices import arrays, messages
from girih.client.lattices.messages import computation_of, select, site
from girih.client.lattices.questions import Array, Asked, Streamed, site_costs
from girih.client.lattices.values import Computation, CostRule, Lattice, Path, Site
from girih.lattice.v1 import paths_pb2 as pb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The part of a route from one stop to the next."""

    path: Path
    goal: int
    """Which site of the stop it ends at, by its place there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A shortest route, or that there is none: then it is false."""

    found: bool
    length: float
    """Of all of it; infinite when there is none."""
    start: int
    """Which site of the first stop it begins at, by its place there."""
    legs: tuple[Leg, ...]
    computation: Computation

    def __bool__(self) -> bool:
        return self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCount:
    """How many shortest paths lead from one site to another."""

    count: int | None
    """None when it has more than 100,000 digits; `log10` tells its size."""
    log10: float
    length: float
    """Of each of them; infinite where there is none."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The sites that are near, in C order."""

    count: int
    """In all, also where not all are listed."""
    sites: "NDArray[np.int64]"
    """Of shape (n, axes)."""
    distances: "NDArray[np.float64]"
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The nearest sources of sites; arrays of the shape asked for and `k`."""

    sources: "NDArray[np.int32]"
    """By their places, the nearest first; -1 where fewer can be reached."""
    distances: "NDArray[np.float64]"
    """Infinite where fewer can be reached."""
    computation: Computation


def route(
    lattice: Lattice,
    stops: Sequence[Sequence[Site]],
    costs: object | None,
    cost_rule: CostRule | str,
) -> Asked[Route]:
    request = pb.FindRouteRequest(
        lattice_id=lattice.id,
        stops=[pb.Stop(sites=[site(one) for one in stop]) for stop in stops],
        sites_max=0,
        costs=site_costs(costs, cost_rule, lattice),
    )

    def read(response: pb.FindRouteResponse) -> Route:
        legs, place = [], response.start
        for leg, stop in zip(response.legs, stops, strict=False):
            path = messages.path(leg.path, stop[place], lattice, response.computation)
            legs.append(Leg(path=path, goal=leg.goal))
            place = leg.goal
        return Route(
            found=response.found,
            length=response.length if response.found else math.inf,
            start=response.start,
            legs=tuple(legs),
            computation=computation_of(response.computation),
        )

    return Asked("FindRoute", request, read)


def count(lattice: Lattice | str, start: Site, goal: Site) -> Asked[PathCount]:
    request = pb.CountPathsRequest(
        lattice_id=messages.id_of(lattice), start=site(start), goal=site(goal)
    )

    def read(response: pb.CountPathsResponse) -> PathCount:
        return PathCount(
            count=arrays.whole(response.count) if response.count else None,
            log10=response.log10,
            length=response.length if response.length >= 0 else math.inf,
            computation=computation_of(response.computation),
        )

    return Asked("CountPaths", request, read)


class SimplePaths:
    """All simple paths as they come. A call that breaks off is made again, and what was told
    before is left out: they come in the same order."""

    is_done = False

    def __init__(
        self,
        lattice: Lattice,
        start: Site,
        goal: Site,
        *,
        length_max: float,
        steps_max: int,
        paths_max: int,
        costs: object | None,
        cost_rule: CostRule | str,
    ) -> None:
        self._lattice, self._start = lattice, start
        self._taken_count = 0
        self._request = pb.SimplePathsRequest(
            lattice_id=lattice.id,
            start=site(start),
            goal=site(goal),
            length_max=length_max,
            steps_max=steps_max,
            paths_max=paths_max,
            costs=site_costs(costs, cost_rule, lattice),
        )

    def begin(self) -> pb.SimplePathsRequest:
        return self._request

    def take(self, response: pb.SimplePathsResponse) -> list[Path] | None:
        fresh = response.paths[max(0, self._taken_count - response.first_path) :]
        self._taken_count = max(self._taken_count, response.first_path + len(response.paths))
        paths = [
            messages.path(one, self._start, self._lattice, response.computation) for one in fresh
        ]
        return paths or None


class _Reachable:
    """Sites as they come, from the beginning in each call."""

    is_done = False

    def __init__(self, request: pb.ReachableRequest, axis_count: int) -> None:
        self._request = request
        self._axis_count = axis_count
        self._parts: list[pb.ReachableResponse] = []

    def begin(self) -> pb.ReachableRequest:
        self._parts.clear()
        return self._request

    def take(self, response: pb.ReachableResponse) -> None:
        self._parts.append(response)

    def result(self) -> Reached:
        first = self._parts[0]
        shape = (-1, self._axis_count)
        sites: Any = arrays.joined([arrays.of(part.sites, "int64", shape) for part in self._parts])
        distances: Any = arrays.joined(
            [arrays.of(part.distances, "float64") for part in self._parts]
        )
        return Reached(
            count=arrays.whole(first.count),
            sites=sites,
            distances=distances,
            computation=computation_of(first.computation),
        )


def reachable(
    lattice: Lattice,
    sources: Collection[Site],
    length_max: float,
    sites_max: int | None,
    costs: object | None,
    cost_rule: CostRule | str,
) -> Streamed[Reached]:
    request = pb.ReachableRequest(
        lattice_id=lattice.id,
        sources=[site(one) for one in sources],
        length_max=length_max,
        sites_max=sites_max,
        costs=site_costs(costs, cost_rule, lattice),
    )
    return Streamed("Reachable", _Reachable(request, len(lattice.shape)))


class _Nearest:
    """Two arrays as they come, from the beginning in each call."""

    is_done = False

    def __init__(self, request: pb.NearestSourcesRequest, shape: tuple[int, ...]) -> None:
        each = shape[-1]
        self._request = request
        self._sources: Array[Any] = Array(
            request, shape, "int32", lambda part: part.sources, _both, count_each=each
        )
        self._distances: Array[Any] = Array(
            request, shape, "float64", lambda part: part.distances, _both, count_each=each
        )

    def begin(self) -> pb.NearestSourcesRequest:
        self._sources.begin()
        self._distances.begin()
        return self._request

    def take(self, response: pb.NearestSourcesResponse) -> None:
        self._sources.take(response)
        self._distances.take(response)

    def result(self) -> Nearest:
        sources, first = self._sources.result()
        distances, _ = self._distances.result()
        return Nearest(
            sources=sources,
            distances=arrays.infinite_where_negative(distances),
            computation=computation_of(first.computation),
        )


def _both(values: Any, first: Any) -> tuple[Any, Any]:  # noqa: ANN401 - an array, a response
    return values, first


def nearest(
    lattice: Lattice,
    sources: Collection[Site],
    k: int,
    *,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
    costs: object | None,
    cost_rule: CostRule | str,
) -> Streamed[Nearest]:
    request = pb.NearestSourcesRequest(
        lattice_id=lattice.id,
        sources=[site(one) for one in sources],
        k=k,
        costs=site_costs(costs, cost_rule, lattice),
    )
    selection = select(request, lattice, targets, origin, shape)
    return Streamed("NearestSources", _Nearest(request, (*selection, k)))
