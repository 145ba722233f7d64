"""Lattices to messages of the contract and back, and where streamed answers go on.

Knows no call.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody

from girih.client.lattices import arrays
from girih.client.lattices.values import (
    BlockedState,
    Boundary,
    Computation,
    CornerRule,
    Lattice,
    Neighbourhood,
    Path,
    Run,
    Site,
)
from girih.lattice.v1 import costs_pb2, transforms_pb2
from girih.lattice.v1 import lattice_pb2 as pb

if TYPE_CHECKING:
    from enum import Enum

    import numpy as np
    from numpy.typing import NDArray

E = TypeVar("E", bound="Enum")

Query = tuple[Site, Site]
"""From where to where."""

LIST_PAGE_SIZE = 1_000

_NUMBERS = {
    pb.NUMBER_TYPE_INT16: "<i2",
    pb.NUMBER_TYPE_INT32: "<i4",
    pb.NUMBER_TYPE_FLOAT64: "<f8",
}


def create_request(
    shape: Sequence[int] | None,
    *,
    blocked: object | None,
    boundaries: Boundary | str | Sequence[Boundary | str],
    neighbourhood: Neighbourhood | str,
    corner_rule: CornerRule | str,
) -> pb.CreateLatticeRequest:
    """With an id of its own, so that it may be repeated. Raises ValueError."""
    each = [boundaries] if isinstance(boundaries, str) else list(boundaries)
    request = pb.CreateLatticeRequest(
        shape=shape or (),
        boundaries=[f"BOUNDARY_{Boundary(one).name}" for one in each],
        neighbourhood=f"NEIGHBOURHOOD_{Neighbourhood(neighbourhood).name}",
        corner_rule=f"CORNER_RULE_{CornerRule(corner_rule).name}",
        request_id=str(uuid4()),
    )
    if blocked is not None:
        blocked_shape, bitmap = arrays.packed(blocked)
        if shape is not None and tuple(shape) != blocked_shape:
            raise ValueError(f"blocked must have the shape {tuple(shape)}, not {blocked_shape}")
        request.shape[:] = blocked_shape
        request.blocked, request.bit_order = bitmap, pb.BIT_ORDER_LITTLE
    elif shape is None:
        raise ValueError("shape or blocked must be given")
    return request


def write_blocked_request(
    lattice: Lattice | str,
    blocked: object,
    *,
    origin: Site | None,
    where: object | None,
    expected_revision: int | None,
) -> transforms_pb2.WriteBlockedRequest:
    """With an id of its own, so that it may be repeated. Raises ValueError."""
    shape, bitmap = arrays.packed(blocked)
    request = transforms_pb2.WriteBlockedRequest(
        lattice_id=id_of(lattice),
        region=pb.Region(origin=site(origin or (0,) * len(shape)), shape=shape),
        blocked=bitmap,
        bit_order=pb.BIT_ORDER_LITTLE,
        request_id=str(uuid4()),
        expected_revision=expected_revision,
    )
    if where is not None:
        where_shape, request.written = arrays.packed(where)
        if where_shape != shape:
            raise ValueError(f"where must have the shape {shape}, not {where_shape}")
    return request


def block_by_field_request(
    lattice: Lattice | str, name: str, expected_revision: int | None
) -> transforms_pb2.BlockByFieldRequest:
    """With an id of its own, so that it may be repeated."""
    return transforms_pb2.BlockByFieldRequest(
        lattice_id=id_of(lattice),
        name=name,
        request_id=str(uuid4()),
        expected_revision=expected_revision,
    )


def blocked_state(message: transforms_pb2.BlockedState) -> BlockedState:
    return BlockedState(
        vertices=message.vertices,
        edges=int(message.edges),
        revision=message.revision,
        digest=message.digest,
        recorded_at=message.recorded_at.ToDatetime(tzinfo=UTC),
    )


def lattice(message: pb.Lattice) -> Lattice:
    return Lattice(
        id=message.lattice_id,
        shape=tuple(message.shape),
        boundaries=tuple(
            _named(Boundary, pb.Boundary.Name(one), "BOUNDARY_") for one in message.boundaries
        ),
        neighbourhood=_named(
            Neighbourhood, pb.Neighbourhood.Name(message.neighbourhood), "NEIGHBOURHOOD_"
        ),
        corner_rule=_named(CornerRule, pb.CornerRule.Name(message.corner_rule), "CORNER_RULE_"),
        vertices=message.vertices,
        edges=int(message.edges or 0),
        blocked_sites=message.blocked_sites,
        bytes_held=message.bytes_held,
        created_at=message.created_at.ToDatetime(tzinfo=UTC),
    )


def _named(enum: type[E], name: str, prefix: str) -> E:
    """The value of a name of the contract; unspecified is the first."""
    members = enum.__members__
    return members.get(name.removeprefix(prefix)) or next(iter(members.values()))


def id_of(lattice: Lattice | str) -> str:
    return lattice.id if isinstance(lattice, Lattice) else lattice


def site(coordinates: Site) -> pb.Site:
    return pb.Site(coordinates=[int(one) for one in coordinates])


def select(
    request: Any,  # noqa: ANN401 - one of those with both
    lattice: Lattice,
    targets: Collection[Site] | None,
    origin: Site | None,
    shape: Sequence[int] | None,
) -> tuple[int, ...]:
    """Say in a request which sites are meant; the shape of the answer. Raises ValueError."""
    if targets is not None and (origin is not None or shape is not None):
        raise ValueError("targets must not be given beside origin and shape")
    if targets is not None:
        request.targets.extend(site(one) for one in targets)
        return (len(targets),)
    if origin is None and shape is None:
        return lattice.shape
    origin = (0,) * len(lattice.shape) if origin is None else origin
    beyond = [size - int(at) for size, at in zip(lattice.shape, origin, strict=True)]
    box = tuple(int(one) for one in (beyond if shape is None else shape))
    request.region.origin.CopyFrom(site(origin))
    request.region.shape.extend(box)
    return box


def find_path_request(
    lattice: Lattice, start: Site, goal: Site, costs: costs_pb2.SiteCosts | None = None
) -> pb.FindPathRequest:
    # Its sites follow from its runs, however many they are.
    return pb.FindPathRequest(
        lattice_id=lattice.id, start=site(start), goal=site(goal), sites_max=0, costs=costs
    )


def path(message: pb.Path, start: Site, lattice: Lattice, computation: pb.Computation) -> Path:
    return Path(
        found=message.found,
        length=message.length if message.found else math.inf,
        steps=message.steps,
        start=tuple(int(one) for one in start),
        runs=tuple(Run(tuple(run.step), run.count) for run in message.runs),
        computation=computation_of(computation),
        _lattice_shape=lattice.shape,
    )


def computation_of(message: pb.Computation) -> Computation:
    return Computation(
        method=pb.Method.Name(message.method).removeprefix("METHOD_"),
        exact=message.exact,
        elapsed_ns=message.elapsed_ns,
        sites_expanded=message.sites_expanded,
        memory_bytes=message.memory_bytes,
        costs_digest=message.costs_digest,
    )


class PathsCursor:
    """Where many paths go on: each query is answered once, and in order."""

    def __init__(
        self,
        lattice: Lattice,
        queries: Iterable[Query],
        costs: costs_pb2.SiteCosts | None = None,
    ) -> None:
        self._lattice = lattice
        self._costs = costs
        self._queries = list(queries)
        self._answered = 0
        self._computation = pb.Computation()

    @property
    def is_done(self) -> bool:
        return self._answered >= len(self._queries)

    def begin(self) -> pb.FindPathsRequest:
        left = self._queries[self._answered :]
        return pb.FindPathsRequest(
            lattice_id=self._lattice.id,
            queries=[pb.PathQuery(start=site(start), goal=site(goal)) for start, goal in left],
            sites_max=0,
            costs=self._costs,
        )

    def take(self, response: pb.FindPathsResponse) -> list[Path] | None:
        if response.HasField("computation"):
            self._computation = response.computation
        queries = self._queries[self._answered :]
        paths = [
            path(message, start, self._lattice, self._computation)
            for message, (start, _) in zip(response.paths, queries, strict=False)
        ]
        self._answered += len(paths)
        return paths or None


class DistancesCursor:
    """Distances as they come. A call that breaks off is made again from the beginning: what it
    took was computing them."""

    is_done = False

    def __init__(
        self,
        lattice: Lattice,
        sources: Collection[Site],
        *,
        targets: Collection[Site] | None,
        origin: Site | None,
        shape: Sequence[int] | None,
        costs: costs_pb2.SiteCosts | None = None,
    ) -> None:
        request = pb.DistancesRequest(
            lattice_id=lattice.id,
            sources=[site(one) for one in sources],
            as_bytes=True,
            costs=costs,
        )
        self._shape = select(request, lattice, targets, origin, shape)
        self._request = request
        self._distances = arrays.empty_distances(math.prod(self._shape))

    def begin(self) -> pb.DistancesRequest:
        return self._request

    def take(self, response: pb.DistancesResponse) -> None:
        first = response.first_index
        if kind := _NUMBERS.get(response.number_type):
            arrays.put_values(self._distances, first, response.values, kind)
        else:  # of a service that knows no arrays yet
            arrays.put_distances(self._distances, first, response.distances)

    def distances(self) -> "NDArray[np.float64]":
        """All of them, once the answer has ended."""
        return arrays.finished_distances(self._distances, self._shape)


class BlockedCursor:
    """A bitmap as it comes, from its beginning in each call."""

    is_done = False

    def __init__(self, lattice: Lattice) -> None:
        self._lattice = lattice
        self._bitmap = bytearray()

    def begin(self) -> pb.ReadBlockedRequest:
        self._bitmap.clear()
        return pb.ReadBlockedRequest(lattice_id=self._lattice.id, bit_order=pb.BIT_ORDER_LITTLE)

    def take(self, response: HttpBody) -> None:
        self._bitmap += response.data

    def blocked(self) -> "NDArray[np.bool_]":
        """All of it, once the answer has ended."""
        return arrays.unpacked(bytes(self._bitmap), self._lattice.shape)
