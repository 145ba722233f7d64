"""What a lattice is like as a graph: values, and what is asked of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from girih.client.lattices import arrays
from girih.client.lattices.messages import Query, computation_of, id_of, select, site
from girih.client.lattices.questions import Array, Asked, Streamed, site_costs
from girih.client.lattices.values import Computation, CostRule, Lattice, Site
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import structure_pb2 as pb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Measure(StrEnum):
    """What makes a site central."""

    DEGREE = "degree"
    CLOSENESS = "closeness"
    HARMONIC = "harmonic"
    BETWEENNESS = "betweenness"
    """Over unordered pairs of others."""
    EIGENVECTOR = "eigenvector"
    PAGERANK = "pagerank"
    KATZ = "katz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One connected component."""

    label: int
    size: int
    first: tuple[int, ...]
    """Its first site in C order."""
    spanning: tuple[bool, ...]
    """For each axis: it has sites on both faces."""
    wrapping: tuple[bool, ...]
    """For each axis: it leads around the ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """How many there are, and the largest of them."""

    count: int
    largest: tuple[Component, ...]
    spanning: tuple[int, ...]
    """For each axis: how many have sites on both faces."""
    wrapping: tuple[int, ...]
    """For each axis: how many lead around the ring."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteValues:
    """A number for each site asked for."""

    values: "NDArray[np.generic]"
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The sites where something is largest, and how large it is there."""

    sites: "NDArray[np.int64]"
    """Of shape (n, axes)."""
    values: "NDArray[np.float64]"
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far sites are apart."""

    diameter: int | None
    radius: int | None
    mean_distance: float
    """Of two sites that are not the same."""
    eccentricities: tuple[int, ...]
    """Of the sites asked for, if any: then nothing else is told."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """The least eigenvalues of the Laplacian."""

    eigenvalues: "NDArray[np.float64]"
    gap: float
    """The least above 0; 0 where none is among them."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanningTrees:
    """How many there are."""

    log_count: float
    """The natural logarithm of their number."""
    trees: int
    """How many trees one forest has: one for each component."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanningTree:
    """A spanning forest that costs least."""

    edge_count: int
    cost: float
    edges: "NDArray[np.int64]"
    """Of shape (n, 2), by C-order indices; (0, 2) unless they were asked for."""
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """Colours of which no two neighbours have the same; -1 where blocked."""

    colours: "NDArray[np.int32]"
    count: int
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Communities:
    """Which community each site is in; -1 where blocked."""

    labels: "NDArray[np.int64]"
    count: int
    modularity: float
    computation: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Percolation:
    """How probably open sites lead across."""

    probabilities: "NDArray[np.float64]"
    errors: "NDArray[np.float64]"
    """The standard error of each."""
    threshold_mean: float
    threshold_error: float
    computation: Computation


def degrees(lattice: Lattice | str) -> Asked[dict[int, int]]:
    request = pb.DegreeHistogramRequest(lattice_id=id_of(lattice))
    return Asked(
        "DegreeHistogram",
        request,
        lambda response: {one.degree: arrays.whole(one.sites) for one in response.degrees},
    )


def components(lattice: Lattice | str, components_max: int) -> Asked[Components]:
    request = pb.ComponentsRequest(lattice_id=id_of(lattice), components_max=components_max)

    def read(response: pb.ComponentsResponse) -> Components:
        return Components(
            count=int(response.count),
            largest=tuple(
                Component(
                    label=one.label,
                    size=int(one.size),
                    first=tuple(one.first),
                    spanning=tuple(one.spanning),
                    wrapping=tuple(one.wrapping),
                )
                for one in response.components
            ),
            spanning=tuple(int(axis.spanning) for axis in response.axes),
            wrapping=tuple(int(axis.wrapping) for axis in response.axes),
            computation=computation_of(response.computation),
        )

    return Asked("Components", request, read)


def labels(
    lattice: Lattice,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> Streamed[SiteValues]:
    request = pb.ComponentLabelsRequest(lattice_id=lattice.id)
    selection = select(request, lattice, targets, origin, shape)
    return Streamed(
        "ComponentLabels",
        Array(request, selection, "int32", lambda part: part.labels, _site_values),
    )


def centrality(
    lattice: Lattice,
    measure: Measure | str,
    damping: float,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> Streamed[SiteValues]:
    request = _centrality_request(lattice, measure, damping)
    selection = select(request, lattice, targets, origin, shape)
    return Streamed(
        "Centrality", Array(request, selection, "float64", lambda part: part.values, _site_values)
    )


class _Ranked:
    """The most central sites as they come, from the beginning in each call."""

    is_done = False

    def __init__(self, request: pb.CentralityRequest) -> None:
        self._request = request
        self._parts: list[pb.CentralityResponse] = []

    def begin(self) -> pb.CentralityRequest:
        self._parts.clear()
        return self._request

    def take(self, response: pb.CentralityResponse) -> None:
        self._parts.append(response)

    def result(self) -> Ranking:
        first = self._parts[0]
        shape = (-1, first.axis_count)
        sites: Any = arrays.joined([arrays.of(part.sites, "int64", shape) for part in self._parts])
        values: Any = arrays.joined([arrays.of(part.values, "float64") for part in self._parts])
        return Ranking(sites=sites, values=values, computation=computation_of(first.computation))


def most_central(
    lattice: Lattice | str, measure: Measure | str, k: int, damping: float
) -> Streamed[Ranking]:
    request = _centrality_request(lattice, measure, damping)
    request.top_k = k
    return Streamed("Centrality", _Ranked(request))


def _centrality_request(
    lattice: Lattice | str, measure: Measure | str, damping: float
) -> pb.CentralityRequest:
    return pb.CentralityRequest(
        lattice_id=id_of(lattice),
        measure=f"MEASURE_{Measure(measure).name}",
        damping=damping,
    )


def extent(lattice: Lattice | str, sites: Collection[Site]) -> Asked[Extent]:
    request = pb.ExtentRequest(lattice_id=id_of(lattice), sites=[site(one) for one in sites])

    def read(response: pb.ExtentResponse) -> Extent:
        return Extent(
            diameter=arrays.whole(response.diameter) if response.diameter else None,
            radius=arrays.whole(response.radius) if response.radius else None,
            mean_distance=response.mean_distance,
            eccentricities=tuple(map(arrays.whole, response.eccentricities)),
            computation=computation_of(response.computation),
        )

    return Asked("Extent", request, read)


def spectrum(lattice: Lattice | str, k: int) -> Asked[Spectrum]:
    request = pb.SpectrumRequest(lattice_id=id_of(lattice), k=k)

    def read(response: pb.SpectrumResponse) -> Spectrum:
        eigenvalues: Any = arrays.of(response.eigenvalues, "float64")
        return Spectrum(
            eigenvalues=eigenvalues,
            gap=response.gap,
            computation=computation_of(response.computation),
        )

    return Asked("Spectrum", request, read)


def heat(
    lattice: Lattice,
    source: Site,
    time: float,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> Streamed[SiteValues]:
    request = pb.HeatRequest(lattice_id=lattice.id, source=site(source), time=time)
    selection = select(request, lattice, targets, origin, shape)
    return Streamed(
        "Heat", Array(request, selection, "float64", lambda part: part.values, _site_values)
    )


def resistances(lattice: Lattice | str, queries: Collection[Query]) -> Asked["NDArray[np.float64]"]:
    request = pb.ResistancesRequest(
        lattice_id=id_of(lattice),
        pairs=[lattice_pb2.PathQuery(start=site(a), goal=site(b)) for a, b in queries],
    )

    def read(response: pb.ResistancesResponse) -> "NDArray[np.float64]":
        values: Any = arrays.of(response.resistances, "float64")
        return arrays.infinite_where_negative(values)

    return Asked("Resistances", request, read)


def spanning_trees(lattice: Lattice | str) -> Asked[SpanningTrees]:
    request = pb.SpanningTreesRequest(lattice_id=id_of(lattice))

    def read(response: pb.SpanningTreesResponse) -> SpanningTrees:
        return SpanningTrees(
            log_count=response.log_count,
            trees=int(response.trees),
            computation=computation_of(response.computation),
        )

    return Asked("SpanningTrees", request, read)


class _Tree:
    """The edges of a tree as they come, from the beginning in each call."""

    is_done = False

    def __init__(self, request: pb.MinimumSpanningTreeRequest) -> None:
        self._request = request
        self._parts: list[pb.MinimumSpanningTreeResponse] = []

    def begin(self) -> pb.MinimumSpanningTreeRequest:
        self._parts.clear()
        return self._request

    def take(self, response: pb.MinimumSpanningTreeResponse) -> None:
        self._parts.append(response)

    def result(self) -> SpanningTree:
        first = self._parts[0]
        edges: Any = arrays.joined([arrays.pairs(part.tails, part.heads) for part in self._parts])
        return SpanningTree(
            edge_count=arrays.whole(first.edge_count),
            cost=first.cost,
            edges=edges,
            computation=computation_of(first.computation),
        )


def minimum_spanning_tree(
    lattice: Lattice, costs: object | None, *, list_edges: bool
) -> Streamed[SpanningTree]:
    request = pb.MinimumSpanningTreeRequest(
        lattice_id=lattice.id,
        costs=site_costs(costs, CostRule.MEAN, lattice),
        list_edges=list_edges,
    )
    return Streamed("MinimumSpanningTree", _Tree(request))


def colouring(
    lattice: Lattice,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> Streamed[Colouring]:
    request = pb.ColouringRequest(lattice_id=lattice.id)
    selection = select(request, lattice, targets, origin, shape)

    def read(colours: Any, first: pb.ColouringResponse) -> Colouring:  # noqa: ANN401 - an array
        computation = computation_of(first.computation)
        return Colouring(colours=colours, count=first.colour_count, computation=computation)

    return Streamed(
        "Colouring", Array(request, selection, "int32", lambda part: part.colours, read)
    )


def communities(
    lattice: Lattice,
    seed: int,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> Streamed[Communities]:
    request = pb.CommunitiesRequest(lattice_id=lattice.id, seed=seed)
    selection = select(request, lattice, targets, origin, shape)

    def read(labels: Any, first: pb.CommunitiesResponse) -> Communities:  # noqa: ANN401 - an array
        return Communities(
            labels=labels,
            count=arrays.whole(first.count),
            modularity=first.modularity,
            computation=computation_of(first.computation),
        )

    return Streamed(
        "Communities", Array(request, selection, "int64", lambda part: part.labels, read)
    )


def percolation(
    lattice: Lattice | str, shares: Sequence[float], *, runs: int, seed: int, axis: int
) -> Asked[Percolation]:
    request = pb.PercolationRequest(
        lattice_id=id_of(lattice), runs=runs, seed=seed, axis=axis, shares=shares
    )

    def read(response: pb.PercolationResponse) -> Percolation:
        probabilities: Any = arrays.of(response.probabilities, "float64")
        errors: Any = arrays.of(response.errors, "float64")
        return Percolation(
            probabilities=probabilities,
            errors=errors,
            threshold_mean=response.threshold_mean,
            threshold_error=response.threshold_error,
            computation=computation_of(response.computation),
        )

    return Asked("Percolation", request, read)


def _site_values(values: Any, first: Any) -> SiteValues:  # noqa: ANN401 - an array, a response
    return SiteValues(values=values, computation=computation_of(first.computation))
