"""The lattice service in the process of the tests, and callers of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from google.api.httpbody_pb2 import HttpBody
from grpc_health.v1 import health_pb2, health_pb2_grpc

from girih.lattice.v1 import lattice_pb2 as pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from girih.ops.v1 import ops_pb2 as ops
from girih.ops.v1.ops_pb2_grpc import MetricsServiceStub
from services.lattice.app import built
from services.lattice.settings import Settings
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.serving import eventually
from tests.processes import PATIENT

ABSENT = "00000000-0000-7000-8000-000000000000"


class Client:
    """A caller of one replica, of one tenant."""

    def __init__(
        self, channel: grpc.aio.Channel, authority: Authority, tenant: str, **token: Any
    ) -> None:
        self.channel = channel
        self._authority = authority
        self.lattices = LatticeServiceStub(channel)
        self.metrics = MetricsServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.metadata = [
            *authority.metadata(tenant, **token),
            ("x-correlation-id", f"corr-{tenant}"),
        ]

    async def create(self, **fields: object) -> pb.Lattice:
        """Create a lattice. Unless told otherwise, bitmaps have the lowest bit first."""
        order = {"bit_order": pb.BIT_ORDER_LITTLE} if "blocked" in fields else {}
        request = pb.CreateLatticeRequest(**(order | fields))  # type: ignore[arg-type]
        response = await self.lattices.CreateLattice(request, metadata=self.metadata)
        lattice: pb.Lattice = response.lattice
        return lattice

    async def get(self, lattice_id: str) -> pb.Lattice:
        request = pb.GetLatticeRequest(lattice_id=lattice_id)
        response = await self.lattices.GetLattice(request, metadata=self.metadata)
        lattice: pb.Lattice = response.lattice
        return lattice

    async def delete(self, lattice_id: str) -> None:
        request = pb.DeleteLatticeRequest(lattice_id=lattice_id)
        await self.lattices.DeleteLattice(request, metadata=self.metadata)

    async def page(self, **fields: object) -> pb.ListLatticesResponse:
        request = pb.ListLatticesRequest(**fields)  # type: ignore[arg-type]
        response: pb.ListLatticesResponse = await self.lattices.ListLattices(
            request, metadata=self.metadata
        )
        return response

    async def find_path(
        self, lattice_id: str, start: list[int], goal: list[int], **fields: object
    ) -> pb.FindPathResponse:
        request = pb.FindPathRequest(
            lattice_id=lattice_id,
            start=site(start),
            goal=site(goal),
            **fields,  # type: ignore[arg-type]
        )
        response: pb.FindPathResponse = await self.lattices.FindPath(
            request, metadata=self.metadata
        )
        return response

    async def find_paths(
        self,
        lattice_id: str,
        queries: list[tuple[list[int], list[int]]],
        **fields: object,
    ) -> list[pb.FindPathsResponse]:
        request = pb.FindPathsRequest(
            lattice_id=lattice_id,
            queries=[pb.PathQuery(start=site(start), goal=site(goal)) for start, goal in queries],
            **fields,  # type: ignore[arg-type]
        )
        return [part async for part in self.lattices.FindPaths(request, metadata=self.metadata)]

    async def distances(self, lattice_id: str, **fields: object) -> list[pb.DistancesResponse]:
        request = pb.DistancesRequest(lattice_id=lattice_id, **fields)  # type: ignore[arg-type]
        return [part async for part in self.lattices.Distances(request, metadata=self.metadata)]

    async def blocked(self, lattice_id: str, **fields: object) -> list[HttpBody]:
        request = pb.ReadBlockedRequest(lattice_id=lattice_id, **fields)  # type: ignore[arg-type]
        return [part async for part in self.lattices.ReadBlocked(request, metadata=self.metadata)]

    def as_caller(self, tenant: str, **token: Any) -> "Client":
        """Somebody else, who calls the same replica."""
        return Client(self.channel, self._authority, tenant, **token)

    async def is_serving(self, service: str = "girih.lattice.v1.LatticeService") -> bool:
        """Whether a service serves, and all kernels are compiled."""
        answer = await self.health.List(health_pb2.HealthListRequest())
        return all(
            part.status == health_pb2.HealthCheckResponse.SERVING
            for name, part in answer.statuses.items()
            if name == service or name.startswith("kernels.")
        )

    async def computes_nothing(self) -> bool:
        """Whether no memory is lent to any call, and none to what its caller has not read."""
        held = []
        for name in ("lattice_compute_bytes", "lattice_unsent_bytes"):
            request = ops.GetMetricsRequest(name_prefix=name)
            answer = await self.metrics.GetMetrics(request, metadata=self.metadata)
            held += [sample.value for sample in answer.families[0].samples]
        return held == [0, 0]


def site(coordinates: list[int]) -> pb.Site:
    return pb.Site(coordinates=coordinates)


@asynccontextmanager
async def replica(
    events_address: str, authority: Authority, tenant: str, **settings: str
) -> AsyncIterator[Client]:
    """A lattice service in this process, and a client of it. Does not wait until it serves."""
    environ = {
        "GIRIH_ENVIRONMENT": "development",
        "LATTICE_EVENTS_ADDRESS": events_address,
        "LATTICE_EVENTS_HEALTH_INTERVAL_S": "0.1",
        "LATTICE_FRESHNESS_S": "0.1",
        "LATTICE_SHUTDOWN_GRACE_S": "1",
        # On a machine that is always busy jobs would never have a turn.
        "LATTICE_JOB_NICENESS": "0",
    }
    async with (
        built(Settings.from_environ(PATIENT | environ | authority.environ | settings)) as server,
        running(server, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Client(channel, authority, tenant)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 90) -> None:
    """Wait until a coroutine function answers True."""
    await eventually(holds, within_s)


async def refusal(call: Awaitable[object]) -> RemoteError:
    """The error that a call ends in."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value)
