"""Between the contract's messages about structure and the values of this room."""

from collections.abc import Sequence
from typing import Protocol

from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import structure_pb2 as pb
from services.lattice.convert import computation_to_proto
from services.lattice.domain import Computation, LatticeSpec, Site
from services.lattice.operations.sites import Selection, selection
from services.lattice.structure import centrality, extent, heat, percolation
from services.lattice.structure.centrality import CentralityPart, CentralityQuery, Measure
from services.lattice.structure.components import Components, LabelsPart
from services.lattice.structure.degrees import Degrees
from services.lattice.structure.extent import Extent
from services.lattice.structure.heat import HeatPart, HeatQuery, Resistances
from services.lattice.structure.partitions import GroupsPart
from services.lattice.structure.percolation import Sweep, SweepQuery
from services.lattice.structure.spectrum import Spectrum, TreeCount
from services.lattice.structure.tree import TreePart
from services.plumbing.errors import Violations

_MEASURES = {
    pb.MEASURE_DEGREE: Measure.DEGREE,
    pb.MEASURE_CLOSENESS: Measure.CLOSENESS,
    pb.MEASURE_HARMONIC: Measure.HARMONIC,
    pb.MEASURE_BETWEENNESS: Measure.BETWEENNESS,
    pb.MEASURE_EIGENVECTOR: Measure.EIGENVECTOR,
    pb.MEASURE_PAGERANK: Measure.PAGERANK,
    pb.MEASURE_KATZ: Measure.KATZ,
}


class Selecting(Protocol):
    """A request that chooses sites."""

    @property
    def targets(self) -> Sequence[lattice_pb2.Site]: ...

    @property
    def region(self) -> lattice_pb2.Region: ...


def selected(request: Selecting, spec: LatticeSpec) -> Selection:
    """The sites that a request is about. Raises InvalidInput naming every bad field."""
    bad = Violations()
    chosen = selection(spec.geometry, _targets(request), _region(request), bad)
    bad.raise_if_any()
    assert chosen is not None
    return chosen


def degrees_to_proto(degrees: Degrees) -> pb.DegreeHistogramResponse:
    return pb.DegreeHistogramResponse(
        degrees=[
            pb.DegreeCount(degree=degree, sites=str(count)) for degree, count in degrees.counts
        ],
        computation=computation_to_proto(degrees.computation),
    )


def components_to_proto(components: Components) -> pb.ComponentsResponse:
    return pb.ComponentsResponse(
        count=str(components.count),
        components=[
            pb.Component(
                label=one.label,
                size=str(one.size),
                first=one.first,
                spanning=one.spanning,
                wrapping=one.wrapping,
            )
            for one in components.largest
        ],
        axes=[
            pb.AxisComponents(
                spanning=str(axis.spanning),
                wrapping=str(axis.wrapping),
                largest_spanning=str(axis.largest_spanning),
            )
            for axis in components.axes
        ],
        computation=computation_to_proto(components.computation),
    )


def labels_to_proto(part: LabelsPart) -> pb.ComponentLabelsResponse:
    return pb.ComponentLabelsResponse(
        first_index=part.first_index,
        labels=part.labels.tolist(),
        computation=_optional(part.computation),
    )


def extent_query(request: pb.ExtentRequest, spec: LatticeSpec) -> list[Site]:
    return extent.extent_query(spec, [site.coordinates for site in request.sites])


def extent_to_proto(extent: Extent, *, of_sites: bool) -> pb.ExtentResponse:
    return pb.ExtentResponse(
        diameter="" if of_sites else str(extent.diameter),
        radius="" if of_sites else str(extent.radius),
        mean_distance=extent.mean_distance,
        eccentricities=[str(longest) for longest in extent.eccentricities],
        computation=computation_to_proto(extent.computation),
    )


def centrality_query(request: pb.CentralityRequest, spec: LatticeSpec) -> CentralityQuery:
    return centrality.centrality_query(
        spec,
        _MEASURES[request.measure],
        _targets(request),
        _region(request),
        request.top_k,
        request.damping,
    )


def centrality_to_proto(part: CentralityPart) -> pb.CentralityResponse:
    return pb.CentralityResponse(
        first_index=part.first_index,
        values=part.values.tolist(),
        sites=part.sites.reshape(-1).tolist(),
        axis_count=part.sites.shape[1],
        computation=_optional(part.computation),
    )


def spectrum_to_proto(spectrum: Spectrum) -> pb.SpectrumResponse:
    return pb.SpectrumResponse(
        eigenvalues=spectrum.eigenvalues,
        gap=spectrum.gap,
        computation=computation_to_proto(spectrum.computation),
    )


def heat_query(request: pb.HeatRequest, spec: LatticeSpec) -> HeatQuery:
    return heat.heat_query(
        spec, request.source.coordinates, request.time, _targets(request), _region(request)
    )


def heat_to_proto(part: HeatPart) -> pb.HeatResponse:
    return pb.HeatResponse(
        first_index=part.first_index,
        values=part.values.tolist(),
        computation=_optional(part.computation),
    )


def resistance_pairs(request: pb.ResistancesRequest, spec: LatticeSpec) -> list[tuple[Site, Site]]:
    pairs = [(pair.start.coordinates, pair.goal.coordinates) for pair in request.pairs]
    return heat.resistance_pairs(spec, pairs)


def resistances_to_proto(resistances: Resistances) -> pb.ResistancesResponse:
    return pb.ResistancesResponse(
        resistances=resistances.values, computation=computation_to_proto(resistances.computation)
    )


def trees_to_proto(counted: TreeCount) -> pb.SpanningTreesResponse:
    return pb.SpanningTreesResponse(
        log_count=counted.log_count,
        trees=str(counted.trees),
        computation=computation_to_proto(counted.computation),
    )


def tree_to_proto(part: TreePart) -> pb.MinimumSpanningTreeResponse:
    is_first = part.computation is not None
    return pb.MinimumSpanningTreeResponse(
        edge_count=str(part.edge_count) if is_first else "",
        cost=part.cost if is_first else 0.0,
        first_index=part.first_index,
        tails=part.edges[:, 0].tolist(),
        heads=part.edges[:, 1].tolist(),
        computation=_optional(part.computation),
    )


def colours_to_proto(part: GroupsPart) -> pb.ColouringResponse:
    return pb.ColouringResponse(
        first_index=part.first_index,
        colours=part.groups.tolist(),
        colour_count=part.count,
        computation=_optional(part.computation),
    )


def communities_to_proto(part: GroupsPart) -> pb.CommunitiesResponse:
    is_first = part.computation is not None
    return pb.CommunitiesResponse(
        first_index=part.first_index,
        labels=part.groups.tolist(),
        count=str(part.count) if is_first else "",
        modularity=part.modularity if is_first else 0.0,
        computation=_optional(part.computation),
    )


def sweep_query(request: pb.PercolationRequest, spec: LatticeSpec) -> SweepQuery:
    return percolation.sweep_query(spec, request.runs, request.seed, request.axis, request.shares)


def sweep_to_proto(sweep: Sweep) -> pb.PercolationResponse:
    return pb.PercolationResponse(
        probabilities=sweep.probabilities,
        errors=sweep.errors,
        threshold_mean=sweep.threshold_mean,
        threshold_error=sweep.threshold_error,
        computation=computation_to_proto(sweep.computation),
    )


def _targets(request: Selecting) -> list[Sequence[int]]:
    return [target.coordinates for target in request.targets]


def _region(request: Selecting) -> tuple[Sequence[int], Sequence[int]] | None:
    # A region that is set has an origin of one axis or more: the contract's rules say so.
    if not request.region.shape:
        return None
    return request.region.origin.coordinates, request.region.shape


def _optional(computation: Computation | None) -> lattice_pb2.Computation | None:
    return None if computation is None else computation_to_proto(computation)
