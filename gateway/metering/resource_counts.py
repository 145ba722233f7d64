"""What a tenant holds in the services, asked of them in the gateway's own name.

Who may see it, the route has asked: the caller's token need not allow to read what is counted.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import grpc.aio

from girih.client import EventStoreClient, GirihError
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.plumbing.errors import Unavailable
from services.plumbing.grpc.errors import from_rpc_error

_TIMEOUT_S: Final = 5.0


class ServiceAway(Unavailable):
    """A service cannot be asked now: retry the same call."""

    reason = "SERVICE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ResourceCount:
    """What a tenant holds now."""

    lattice_count: int
    event_count: int


class ResourceCounts:
    """Asks both services."""

    def __init__(self, events: EventStoreClient, lattice: grpc.aio.Channel) -> None:
        """Both carry the gateway's own token, for the caller being served."""
        self._events = events
        self._lattice = LatticeServiceStub(lattice)

    async def count(self) -> ResourceCount:
        """What the tenant of the call being served holds; raises ServiceAway."""
        return ResourceCount(*await asyncio.gather(self._lattice_count(), self._event_count()))

    async def _event_count(self) -> int:
        try:
            return await self._events.head(timeout=_TIMEOUT_S)
        except GirihError as error:
            raise _away(error.retry_after_s) from error

    async def _lattice_count(self) -> int:
        request = lattice_pb2.ListLatticesRequest(page_size=1)
        try:
            response = await self._lattice.ListLattices(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _away(from_rpc_error(error).retry_after_s) from error
        count: int = response.total_count
        return count


def _away(retry_after_s: float | None) -> ServiceAway:
    return ServiceAway(
        "what the tenant holds cannot be asked now", retry_after_s=retry_after_s or 1.0
    )
