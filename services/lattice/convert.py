"""Between the contract's messages and the domain's values. Decides nothing."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import domain
from services.lattice.computing.answers import DistancesAnswer, Path, PathAnswer, PathsAnswer
from services.lattice.domain import (
    BLOCKABLE_SITES_MAX,
    Computation,
    DistanceQuery,
    Lattice,
    LatticeSpec,
    Method,
    NewLattice,
    PathQuery,
    bitmap_bytes,
)
from services.lattice.geometry import Geometry
from services.lattice.state.journal import DamagedRecord, LatticeCreated, LatticeDeleted
from services.plumbing.errors import InvalidInput

_DIGEST_BYTES = 32
_EDGES_DIGITS_MAX = 30
"""More than the edges of any lattice have."""

# What is not told means open, von Neumann, and no cutting: the contract says so.
_PERIODIC = {
    pb.BOUNDARY_UNSPECIFIED: False,
    pb.BOUNDARY_OPEN: False,
    pb.BOUNDARY_PERIODIC: True,
}
_MOORE = {
    pb.NEIGHBOURHOOD_UNSPECIFIED: False,
    pb.NEIGHBOURHOOD_VON_NEUMANN: False,
    pb.NEIGHBOURHOOD_MOORE: True,
}
_NO_CUTTING = {
    pb.CORNER_RULE_UNSPECIFIED: True,
    pb.CORNER_RULE_NO_CUTTING: True,
    pb.CORNER_RULE_CUTTING: False,
}
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
        periodic=[_PERIODIC.get(boundary) for boundary in request.boundaries],
        moore=_MOORE.get(request.neighbourhood),
        no_cutting=_NO_CUTTING.get(request.corner_rule),
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
        boundaries=_boundaries(geometry),
        neighbourhood=_neighbourhood(geometry),
        corner_rule=_corner_rule(geometry),
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


def created_to_proto(created: LatticeCreated, blocked_zlib: bytes) -> pb.LatticeCreated:
    """The payload that is recorded; the bitmap comes compressed, or empty to leave it out."""
    return pb.LatticeCreated(
        lattice_id=created.lattice_id,
        shape=created.geometry.shape,
        boundaries=_boundaries(created.geometry),
        neighbourhood=_neighbourhood(created.geometry),
        corner_rule=_corner_rule(created.geometry),
        blocked_zlib=blocked_zlib,
        blocked_digest=created.blocked_digest,
        vertices=created.vertices,
        edges=str(created.edges),
    )


def created_from_proto(payload: pb.LatticeCreated, blocked_zlib: bytes) -> LatticeCreated:
    """What was recorded; raises DamagedRecord when it cannot have been written by us.

    The bitmap comes compressed, or empty where it is left out.
    """
    with _damage_named():
        geometry = _recorded_geometry(payload)
        created = LatticeCreated(
            lattice_id=_recorded_id(payload.lattice_id),
            geometry=geometry,
            vertices=payload.vertices,
            edges=_recorded_edges(payload.edges),
            blocked_digest=payload.blocked_digest,
            blocked=_decompressed(blocked_zlib, geometry) if blocked_zlib else b"",
        )
        LatticeSpec(geometry=geometry, blocked=created.blocked)
    _check_counts(created)
    return created


def deleted_from_proto(payload: pb.LatticeDeleted) -> LatticeDeleted:
    """What was recorded; raises DamagedRecord when it cannot have been written by us."""
    with _damage_named():
        return LatticeDeleted(lattice_id=_recorded_id(payload.lattice_id))


@contextmanager
def _damage_named() -> Iterator[None]:
    """What nobody who asks now has told is no input of theirs."""
    try:
        yield
    except InvalidInput as error:
        told = "; ".join(f"{bad.field} {bad.description}" for bad in error.violations)
        raise DamagedRecord(told) from error


def _recorded_id(text: str) -> str:
    if domain.lattice_id(text) != text:
        raise DamagedRecord("lattice_id is not written in lower case")
    return text


def _recorded_geometry(payload: pb.LatticeCreated) -> Geometry:
    try:
        geometry = Geometry(
            shape=tuple(payload.shape),
            periodic=tuple(_PERIODIC[boundary] for boundary in payload.boundaries),
            moore=_MOORE[payload.neighbourhood],
            no_cutting=_NO_CUTTING[payload.corner_rule],
        )
    except KeyError as error:
        raise DamagedRecord("boundaries, neighbourhood or corner_rule is unknown") from error
    # Before anything of the lattice's size is computed or allocated.
    LatticeSpec(geometry=geometry)
    if len(payload.blocked_digest) not in (0, _DIGEST_BYTES):
        raise DamagedRecord("blocked_digest is not a SHA-256")
    if payload.blocked_digest and geometry.sites > BLOCKABLE_SITES_MAX:
        raise DamagedRecord("has blocked sites, and too many sites for that")
    return geometry


def _recorded_edges(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _EDGES_DIGITS_MAX):
        raise DamagedRecord("edges is not a decimal number")
    return int(text)


def _check_counts(created: LatticeCreated) -> None:
    """A lattice has what its free one has, and no more where sites are blocked."""
    sites, edges = created.geometry.sites, created.geometry.edges
    if created.blocked_digest:
        fits = 0 <= created.vertices <= sites and created.edges <= edges
    else:
        fits = (created.vertices, created.edges) == (sites, edges)
    if not fits:
        raise DamagedRecord("vertices or edges do not fit the shape")


def _decompressed(blocked_zlib: bytes, geometry: Geometry) -> bytes:
    if geometry.sites > BLOCKABLE_SITES_MAX:
        raise DamagedRecord("a bitmap is recorded for too many sites")
    # At most a byte more than the sites need, whatever the compressed bytes claim.
    expected_bytes = bitmap_bytes(geometry)
    decompressor = zlib.decompressobj()
    try:
        bitmap = decompressor.decompress(blocked_zlib, expected_bytes + 1)
    except zlib.error as error:
        raise DamagedRecord("a recorded bitmap cannot be decompressed") from error
    if len(bitmap) != expected_bytes or not decompressor.eof:
        raise DamagedRecord("a recorded bitmap has not the length of its lattice")
    return bitmap


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


def _boundaries(geometry: Geometry) -> Sequence[pb.Boundary]:
    return [pb.BOUNDARY_PERIODIC if ring else pb.BOUNDARY_OPEN for ring in geometry.periodic]


def _neighbourhood(geometry: Geometry) -> pb.Neighbourhood:
    return pb.NEIGHBOURHOOD_MOORE if geometry.moore else pb.NEIGHBOURHOOD_VON_NEUMANN


def _corner_rule(geometry: Geometry) -> pb.CornerRule:
    return pb.CORNER_RULE_NO_CUTTING if geometry.no_cutting else pb.CORNER_RULE_CUTTING


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
