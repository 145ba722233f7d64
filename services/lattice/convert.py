"""Between the contract's messages and the domain's values. Decides nothing."""

from datetime import datetime

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import domain
from services.lattice.computing.answers import DistancesAnswer, Path, PathAnswer, PathsAnswer
from services.lattice.domain import (
    Computation,
    DistanceQuery,
    Lattice,
    LatticeSpec,
    Method,
    NewLattice,
    PathQuery,
)
from services.lattice.enums import (
    MOORE,
    NO_CUTTING,
    PERIODIC,
    boundaries,
    corner_rule,
    neighbourhood,
)

_METHODS = {
    Method.CLOSED_FORM: pb.METHOD_CLOSED_FORM,
    Method.A_STAR: pb.METHOD_A_STAR,
    Method.BREADTH_FIRST: pb.METHOD_BREADTH_FIRST,
    Method.DIJKSTRA: pb.METHOD_DIJKSTRA,
    Method.JUMP_POINT: pb.METHOD_JUMP_POINT,
}


def new_lattice(request: pb.CreateLatticeRequest) -> NewLattice:
    return domain.new_lattice(
        shape=request.shape,
        dimensions=request.dimensions,
        size=request.size,
        periodic=[PERIODIC.get(boundary) for boundary in request.boundaries],
        moore=MOORE.get(request.neighbourhood),
        no_cutting=NO_CUTTING.get(request.corner_rule),
        blocked=request.blocked,
        request_id=request.request_id,
    )


def listed_sites(request: pb.FindPathRequest | pb.FindPathsRequest, default: int) -> int:
    return request.sites_max if request.HasField("sites_max") else default


def path_query(request: pb.FindPathRequest, spec: LatticeSpec, sites_max: int) -> PathQuery:
    return domain.path_query(spec, request.start.coordinates, request.goal.coordinates, sites_max)


def path_queries(
    request: pb.FindPathsRequest, spec: LatticeSpec, sites_max: int
) -> list[PathQuery]:
    pairs = [(query.start.coordinates, query.goal.coordinates) for query in request.queries]
    return domain.path_queries(spec, pairs, sites_max)


def distance_query(request: pb.DistancesRequest, spec: LatticeSpec) -> DistanceQuery:
    region = None
    if request.HasField("region"):
        region = (request.region.origin.coordinates, request.region.shape)
    return domain.distance_query(
        spec,
        [source.coordinates for source in request.sources],
        [target.coordinates for target in request.targets],
        region,
    )


def lattice_to_proto(lattice: Lattice, bytes_held: int) -> pb.Lattice:
    geometry = lattice.geometry
    return pb.Lattice(
        lattice_id=lattice.lattice_id,
        shape=geometry.shape,
        boundaries=boundaries(geometry),
        neighbourhood=neighbourhood(geometry),
        corner_rule=corner_rule(geometry),
        vertices=lattice.vertices,
        edges=str(lattice.edges),
        blocked_sites=lattice.blocked_sites,
        bytes_held=bytes_held,
        bytes_as_graph=str(lattice.bytes_as_graph),
        bytes_as_matrix=str(lattice.bytes_as_matrix),
        created_at=_timestamp(lattice.created_at),
    )


def blocked_to_proto(piece: bytes) -> HttpBody:
    return HttpBody(content_type="application/octet-stream", data=piece)


def path_to_proto(path: Path) -> pb.Path:
    """Takes about half a microsecond per run and one per site."""
    told = pb.Path(found=path.found, length=path.length, steps=path.steps, runs=_runs(path))
    add_site = told.sites.add
    for site in path.sites.tolist():
        add_site().coordinates.extend(site)
    return told


def path_answer_to_proto(answer: PathAnswer) -> pb.FindPathResponse:
    return pb.FindPathResponse(
        path=path_to_proto(answer.path), computation=computation_to_proto(answer.computation)
    )


def paths_answer_to_proto(answer: PathsAnswer) -> pb.FindPathsResponse:
    return pb.FindPathsResponse(
        first_query=answer.first_query,
        paths=[path_to_proto(path) for path in answer.paths],
        computation=computation_to_proto(answer.computation),
    )


def distances_answer_to_proto(answer: DistancesAnswer) -> pb.DistancesResponse:
    computation = answer.computation
    return pb.DistancesResponse(
        first_index=answer.first_index,
        distances=answer.distances.tolist(),
        computation=computation_to_proto(computation) if computation else None,
    )


def computation_to_proto(computation: Computation) -> pb.Computation:
    return pb.Computation(
        method=_METHODS[computation.method],
        exact=computation.exact,
        elapsed_ns=computation.elapsed_ns,
        sites_expanded=computation.sites_expanded,
        memory_bytes=computation.memory_bytes,
    )


def _runs(path: Path) -> list[pb.Run]:
    """Runs are many and rarely differ: each kind is made once, and copied where it goes."""
    kinds: dict[tuple[bytes, int], pb.Run] = {}
    runs = []
    for step, count in zip(path.run_steps, path.run_counts.tolist(), strict=True):
        kind = (step.tobytes(), count)
        if kind not in kinds:
            kinds[kind] = pb.Run(step=step.tolist(), count=count)
        runs.append(kinds[kind])
    return runs


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
