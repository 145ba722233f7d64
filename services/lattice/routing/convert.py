"""Between the contract's messages about several ways and the values of this room."""

from girih.lattice.v1 import paths_pb2 as pb
from services.lattice.convert import computation_to_proto, fitting_path
from services.lattice.domain import LatticeSpec
from services.lattice.errors import AnswerTooLarge
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.routing import counting, nearest, reach, route, simple
from services.lattice.routing.counting import CountAnswer, CountQuery
from services.lattice.routing.nearest import NearestAnswer, NearestQuery
from services.lattice.routing.reach import ReachAnswer, ReachQuery
from services.lattice.routing.route import Leg, Route, RouteQuery
from services.lattice.routing.simple import SimplePathsAnswer, SimplePathsQuery
from services.plumbing.wire import field

_STATUS_BYTES = 1 << 10
"""More than an answer takes beside its paths."""


def route_query(
    request: pb.FindRouteRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> RouteQuery:
    stops = [[site.coordinates for site in stop.sites] for stop in request.stops]
    return route.route_query(spec, stops, request.sites_max, costs)


def route_bytes(route: Route, message_bytes_max: int) -> bytes:
    """The route, serialized; raises AnswerTooLarge when it would take more bytes than that."""
    bytes_max = message_bytes_max - _STATUS_BYTES
    legs = [
        field(pb.FindRouteResponse.LEGS_FIELD_NUMBER, _leg_bytes(leg, bytes_max))
        for leg in route.legs
    ]
    if sum(map(len, legs)) > bytes_max:
        raise AnswerTooLarge(
            "the route has more runs or sites than one message holds",
            steps=sum(leg.path.steps for leg in route.legs),
        )
    head = pb.FindRouteResponse(
        found=bool(route.legs),
        length=route.length,
        start=route.start,
        computation=computation_to_proto(route.computation),
    )
    return b"".join((head.SerializeToString(), *legs))


def count_query(request: pb.CountPathsRequest, spec: LatticeSpec) -> CountQuery:
    return counting.count_query(spec, request.start.coordinates, request.goal.coordinates)


def count_to_proto(answer: CountAnswer) -> pb.CountPathsResponse:
    return pb.CountPathsResponse(
        count=answer.digits,
        log10=answer.log10,
        length=answer.length,
        computation=computation_to_proto(answer.computation),
    )


def simple_paths_query(
    request: pb.SimplePathsRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> SimplePathsQuery:
    return simple.simple_paths_query(
        spec,
        request.start.coordinates,
        request.goal.coordinates,
        length_max=request.length_max,
        steps_max=request.steps_max,
        paths_max=request.paths_max,
        costs=costs,
    )


def simple_paths_bytes(answer: SimplePathsAnswer, message_bytes_max: int) -> bytes:
    """Some paths, serialized: they take a MiB of arrays, and less so."""
    bytes_max = message_bytes_max - _STATUS_BYTES
    head = pb.SimplePathsResponse(
        first_path=answer.first_path,
        is_complete=answer.is_complete,
        computation=computation_to_proto(answer.computation),
    )
    number = pb.SimplePathsResponse.PATHS_FIELD_NUMBER
    paths = [field(number, fitting_path(path, bytes_max)) for path in answer.paths]
    return b"".join((head.SerializeToString(), *paths))


def reach_query(
    request: pb.ReachableRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> ReachQuery:
    return reach.reach_query(
        spec,
        [source.coordinates for source in request.sources],
        request.length_max,
        request.sites_max if request.HasField("sites_max") else None,
        costs,
    )


def reach_to_proto(answer: ReachAnswer) -> pb.ReachableResponse:
    return pb.ReachableResponse(
        count=str(answer.count) if answer.computation else "",
        first_index=answer.first_index,
        sites=answer.sites.reshape(-1).tolist(),
        axis_count=answer.sites.shape[1],
        distances=answer.distances.tolist(),
        computation=computation_to_proto(answer.computation) if answer.computation else None,
    )


def nearest_query(
    request: pb.NearestSourcesRequest, spec: LatticeSpec, costs: SiteCosts | None
) -> NearestQuery:
    region = None
    if request.HasField("region"):
        region = (request.region.origin.coordinates, request.region.shape)
    return nearest.nearest_query(
        spec,
        [source.coordinates for source in request.sources],
        request.k,
        [target.coordinates for target in request.targets],
        region,
        costs,
    )


def nearest_to_proto(answer: NearestAnswer) -> pb.NearestSourcesResponse:
    return pb.NearestSourcesResponse(
        first_index=answer.first_index,
        sources=answer.sources.reshape(-1).tolist(),
        distances=answer.distances.reshape(-1).tolist(),
        k=answer.sources.shape[1],
        computation=computation_to_proto(answer.computation) if answer.computation else None,
    )


def _leg_bytes(leg: Leg, bytes_max: int) -> bytes:
    head = pb.Leg(goal=leg.goal).SerializeToString()
    return field(pb.Leg.PATH_FIELD_NUMBER, fitting_path(leg.path, bytes_max)) + head
