"""Short ways to call the event store, and to see why it refused."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from girih.events.v1 import events_pb2 as pb
from girih.rules import requests
from tests.authority import USER

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

Metadata = list[tuple[str, str]]


@dataclass(frozen=True)
class Callers:
    """Tokens for whoever a test calls as."""

    issue: Callable[[str, str, Collection[str] | None], str]
    tenant: str = "default"
    """Whose user calls, unless a call says else."""

    def token(self) -> str:
        return self.issue(self.tenant, USER, None)

    def metadata(
        self, other: str = "", *, sub: str = USER, scopes: Collection[str] | None = None
    ) -> Metadata:
        """For a call as the tenant, or as another one of this name that nobody else calls as."""
        tenant = f"{self.tenant}-{other}" if other else self.tenant
        return [("authorization", f"Bearer {self.issue(tenant, sub, scopes)}")]


async def read(
    events: "EventStoreServiceAsyncStub", request: pb.ReadRequest, metadata: Metadata | None = None
) -> list[pb.RecordedEvent]:
    call = events.Read(request, metadata=metadata)
    return [recorded async for response in call for recorded in response.events]


async def refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details(error: grpc.aio.AioRpcError) -> dict[str, object]:
    """The error's details by the name of their message."""
    status = rpc_status.from_call(error)
    assert status is not None
    result: dict[str, object] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        kind = pb.PreconditionFailure if name == "PreconditionFailure" else None
        unpacked = (kind or getattr(error_details_pb2, name))()
        packed.Unpack(unpacked)
        result[name] = unpacked
    return result


def reason(error: grpc.aio.AioRpcError) -> str:
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.domain == "events.girih"
    return str(info.reason)


def largest_event() -> pb.Event:
    """As large as an event may be."""
    event = pb.Event(id=str(uuid4()), stream="large", type="t", binary=bytes(2**21))
    event.binary += bytes(requests.EVENT_BYTES_MAX - event.ByteSize())
    return event
