"""Between the contract's messages and the domain's values. Decides nothing."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.domain import BitOrder, Computation, Lattice, LatticeSpec, Method
from services.lattice.enums import (
    BIT_ORDERS,
    MOORE,
    NO_CUTTING,
    PERIODIC,
    boundaries,
    corner_rule,
    neighbourhood,
)
from services.lattice.errors import AnswerTooLarge
from services.lattice.kernels.runs import Path
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.wire import packed_numbers, run_messages
from services.lattice.operations import creation, distances, paths
from services.lattice.operations.creation import NewLattice
from services.lattice.operations.distances import DistanceQuery, DistancesAnswer
from services.lattice.operations.paths import PathAnswer, PathsAnswer, PathsQuery
from services.lattice.state.lattices import LatticePage
from services.plumbing import validation
from services.plumbing.wire import field, field_head, tag

_SITES_MAX_DEFAULT = 1_000
"""Sites of a single path that are listed unless the caller says how many."""

_STATUS_BYTES = 1 << 10
"""More than an answer takes beside its paths."""

_NUMBER_TYPES = {
    "int16": pb.NUMBER_TYPE_INT16,
    "int32": pb.NUMBER_TYPE_INT32,
    "float64": pb.NUMBER_TYPE_FLOAT64,
}

_METHODS = {
    Method.CLOSED_FORM: pb.METHOD_CLOSED_FORM,
    Method.A_STAR: pb.METHOD_A_STAR,
    Method.BREADTH_FIRST: pb.METHOD_BREADTH_FIRST,
    Method.DIJKSTRA: pb.METHOD_DIJKSTRA,
    Method.JUMP_POINT: pb.METHOD_JUMP_POINT,
    Method.DEPTH_FIRST: pb.METHOD_DEPTH_FIRST,
    Method.PATH_COUNTING: pb.METHOD_PATH_COUNTING,
    Method.COUNTING: pb.METHOD_COUNTING,
    Method.LABELLING: pb.METHOD_LABELLING,
    Method.BRANDES: pb.METHOD_BRANDES,
    Method.POWER_ITERATION: pb.METHOD_POWER_ITERATION,
    Method.CONJUGATE_GRADIENT: pb.METHOD_CONJUGATE_GRADIENT,
    Method.CHEBYSHEV: pb.METHOD_CHEBYSHEV,
    Method.SUBSPACE_ITERATION: pb.METHOD_SUBSPACE_ITERATION,
    Method.DENSE_EIGENVALUES: pb.METHOD_DENSE_EIGENVALUES,
    Method.CHOLESKY: pb.METHOD_CHOLESKY,
    Method.KRUSKAL: pb.METHOD_KRUSKAL,
    Method.GREEDY: pb.METHOD_GREEDY,
    Method.LOUVAIN: pb.METHOD_LOUVAIN,
    Method.NEWMAN_ZIFF: pb.METHOD_NEWMAN_ZIFF,
}


def new_lattice(request: pb.CreateLatticeRequest) -> NewLattice:
    """What to create. Raises InvalidInput naming every bad field."""
    validation.check(request)
    return creation.new_lattice(
        shape=request.shape,
        dimensions=request.dimensions,
        size=request.size,
        periodic=[PERIODIC[boundary] for boundary in request.boundaries],
        moore=MOORE[request.neighbourhood],
        no_cutting=NO_CUTTING[request.corner_rule],
        blocked=request.blocked,
        bit_order=BIT_ORDERS[request.bit_order],
        request_id=request.request_id,
    )


def bit_order(request: pb.ReadBlockedRequest) -> BitOrder:
    return BIT_ORDERS[request.bit_order] or BitOrder.LITTLE


def path_query(
    request: pb.FindPathRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> PathsQuery:
    return paths.path_query(
        spec,
        request.start.coordinates,
        request.goal.coordinates,
        request.sites_max if request.HasField("sites_max") else _SITES_MAX_DEFAULT,
        costs,
        (request.region.origin.coordinates, request.region.shape)
        if request.HasField("region")
        else None,
    )


def paths_query(
    request: pb.FindPathsRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> PathsQuery:
    pairs = [(query.start.coordinates, query.goal.coordinates) for query in request.queries]
    return paths.paths_query(spec, pairs, request.sites_max, costs)


def distance_query(
    request: pb.DistancesRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> DistanceQuery:
    region = None
    if request.HasField("region"):
        region = (request.region.origin.coordinates, request.region.shape)
    return distances.distance_query(
        spec,
        [source.coordinates for source in request.sources],
        [target.coordinates for target in request.targets],
        region,
        as_bytes=request.as_bytes,
        costs=costs,
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


def page_to_proto(page: LatticePage) -> pb.ListLatticesResponse:
    """Takes some 20 microseconds a lattice."""
    return pb.ListLatticesResponse(
        lattices=[lattice_to_proto(listed.lattice, listed.bytes_held) for listed in page.listed],
        next_page_token=page.next_page_token,
        total_count=page.total_count,
    )


def blocked_to_proto(piece: bytes) -> HttpBody:
    return HttpBody(content_type="application/octet-stream", data=piece)


def path_bytes(path: Path) -> bytes:
    """A path as a serialized `Path`. Takes some nanoseconds a number, however many there are."""
    head = pb.Path(
        found=path.found,
        length=path.length,
        steps=path.steps,
        axis_count=path.run_steps.shape[1],
    )
    return b"".join(
        (
            head.SerializeToString(),
            run_messages(path.run_steps, path.run_counts, tag(pb.Path.RUNS_FIELD_NUMBER)),
            field(pb.Path.SITES_FIELD_NUMBER, packed_numbers(path.sites)),
        )
    )


def path_answer_bytes(answer: PathAnswer, message_bytes_max: int) -> bytes:
    """The answer, serialized; raises AnswerTooLarge when it would take more bytes than that."""
    bytes_max = message_bytes_max - _STATUS_BYTES - len(answer.looked_at)
    path = fitting_path(answer.path, bytes_max)
    computation = computation_to_proto(answer.computation)
    rest = pb.FindPathResponse(computation=computation, looked_at=answer.looked_at)
    return field(pb.FindPathResponse.PATH_FIELD_NUMBER, path) + rest.SerializeToString()


def paths_answer_bytes(answer: PathsAnswer, message_bytes_max: int) -> Iterator[bytes]:
    """The answers as one serialized message, or as several when one would take more bytes.

    The first has the computation of all. Raises AnswerTooLarge when one path alone does not
    fit.
    """
    bytes_max = message_bytes_max - _STATUS_BYTES
    head = pb.FindPathsResponse(
        first_query=answer.first_query, computation=computation_to_proto(answer.computation)
    )
    pieces, size_bytes = [head.SerializeToString()], 0
    for index, path in enumerate(answer.paths):
        piece = field(pb.FindPathsResponse.PATHS_FIELD_NUMBER, fitting_path(path, bytes_max))
        if size_bytes + len(piece) > bytes_max:
            yield b"".join(pieces)
            head = pb.FindPathsResponse(first_query=answer.first_query + index)
            pieces, size_bytes = [head.SerializeToString()], 0
        pieces.append(piece)
        size_bytes += len(piece)
    yield b"".join(pieces)


def distances_answer_bytes(answer: DistancesAnswer, *, as_bytes: bool) -> bytes:
    """The answer, serialized. Its numbers are what lies in memory: copied once, into it."""
    computation, values = answer.computation, answer.distances
    head = pb.DistancesResponse(
        first_index=answer.first_index,
        computation=computation_to_proto(computation) if computation else None,
    )
    if as_bytes:
        head.number_type = _NUMBER_TYPES[values.dtype.name]
        number, kind = pb.DistancesResponse.VALUES_FIELD_NUMBER, values.dtype.newbyteorder("<")
    else:
        number, kind = pb.DistancesResponse.DISTANCES_FIELD_NUMBER, np.dtype("<f8")
    numbers = values.astype(kind, copy=False)
    return b"".join((head.SerializeToString(), field_head(number, numbers.nbytes), numbers.data))


def computation_to_proto(computation: Computation) -> pb.Computation:
    return pb.Computation(
        method=_METHODS[computation.method],
        exact=computation.exact,
        elapsed_ns=computation.elapsed_ns,
        sites_expanded=computation.sites_expanded,
        memory_bytes=computation.memory_bytes,
        costs_digest=computation.costs_digest,
    )


def fitting_path(path: Path, bytes_max: int) -> bytes:
    """A path, serialized. Nothing is made of one that cannot fit."""
    if _least_bytes(path) <= bytes_max and len(message := path_bytes(path)) <= bytes_max:
        return message
    raise AnswerTooLarge(
        "the path has more runs or sites than one message holds",
        runs=len(path.run_counts),
        steps=path.steps,
    )


def _least_bytes(path: Path) -> int:
    """A run is a tag and a length, as its steps are, then its count; a number takes a byte."""
    axis_count = int(path.run_steps.shape[1])
    return len(path.run_steps) * (axis_count + 6) + path.sites.size


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
