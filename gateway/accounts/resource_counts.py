"""What a tenant holds in the services, asked of them with the caller's own token."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
import grpc.aio

from girih.events.v1 import events_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.plumbing.errors import Unavailable
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.identity import ScopeMissing

R = TypeVar("R")

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

    def __init__(self, events: grpc.aio.Channel, lattice: grpc.aio.Channel) -> None:
        """The channels carry the token of the caller being served."""
        self._events = EventStoreServiceStub(events)
        self._lattice = LatticeServiceStub(lattice)

    async def count(self) -> ResourceCount:
        """Raises ServiceAway, and ScopeMissing when the token does not allow to see either."""
        lattices, log = await asyncio.gather(
            _answer(
                self._lattice.ListLattices(
                    lattice_pb2.ListLatticesRequest(page_size=1), timeout=_TIMEOUT_S
                )
            ),
            _answer(self._events.GetLog(events_pb2.GetLogRequest(), timeout=_TIMEOUT_S)),
        )
        return ResourceCount(lattices.total_count, log.head_position)


async def _answer(call: Awaitable[R]) -> R:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error)
        if refusal.code == grpc.StatusCode.PERMISSION_DENIED:
            raise ScopeMissing(refusal.message, **refusal.metadata) from error
        raise ServiceAway(
            "what the tenant holds cannot be asked now", retry_after_s=refusal.retry_after_s or 1.0
        ) from error
