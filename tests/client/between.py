"""A real server before a real event store, which loses answers and ends calls as tests say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from girih.client import open_channel
from girih.client.context import is_accepted
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import (
    EventStoreServiceServicer,
    EventStoreServiceStub,
    add_EventStoreServiceServicer_to_server,
)
from girih.events.v1.snapshots_pb2_grpc import (
    SnapshotServiceServicer,
    SnapshotServiceStub,
    add_SnapshotServiceServicer_to_server,
)

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Failure:
    """What a call is answered with instead."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after_s: float | None = None
    after: bool = False
    """The event store did what was asked before the answer is lost."""
    responses: int = 0
    """A read, or a stream of appends, ends so after so many responses."""
    ends: bool = True
    """Else a stream of appends has it as the refusal of one append, and goes on."""

    @property
    def message(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message="broken on purpose")
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain="events.girih")
            status.details.add().Pack(info)
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status

    @property
    def status(self) -> grpc.Status:
        converted: grpc.Status = rpc_status.to_status(self.message)
        return converted


@dataclass
class Between(EventStoreServiceServicer):
    """Passes calls on. `failures` are met one after the other, by calls of any kind but Get."""

    stub: "EventStoreServiceAsyncStub"
    address: str = ""
    failures: list[Failure] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    open_calls: set[Any] = field(default_factory=set)
    """Reads that are passed on now; tests may cancel them."""
    batch_max: int = 0
    """Responses of a read are cut into ones of so many events; 0 leaves them as they are."""
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    """Reads are accepted once it is set, as it is unless tests clear it."""
    pads: bool = False
    """Responses of a read without events come before and behind each."""

    def __post_init__(self) -> None:
        self.placed.set()

    async def Append(self, request: pb.AppendRequest, context: Context) -> Any:
        failure = self._next(request, context)
        if failure is not None and not failure.after:
            await context.abort_with_status(failure.status)
        response = await self._passed(self.stub.Append, request, context)
        if failure is not None:
            await context.abort_with_status(failure.status)
        return response

    async def AppendStream(
        self, requests: AsyncIterator[pb.AppendStreamRequest], context: Context
    ) -> AsyncIterator[pb.AppendStreamResponse]:
        failure = self._next(pb.AppendStreamRequest(), context)
        call = self.stub.AppendStream(requests, metadata=_token(context))
        count = 0
        try:
            async for response in call:
                if failure is None or count != failure.responses:
                    yield response
                elif failure.ends:
                    await context.abort_with_status(failure.status)
                else:
                    yield pb.AppendStreamResponse(refusal=failure.message)
                count += 1
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)
        finally:
            call.cancel()

    async def Read(
        self, request: pb.ReadRequest, context: Context
    ) -> AsyncIterator[pb.ReadResponse]:
        failure = self._next(request, context)
        if failure is not None and failure.responses == 0:
            await context.abort_with_status(failure.status)
        count = 0
        call = self.stub.Read(request, metadata=_token(context))
        self.open_calls.add(call)
        try:
            if is_accepted(metadata := await call.initial_metadata()):
                await self.placed.wait()
                await context.send_initial_metadata(tuple(metadata))
            async for response in call:
                for part in self._parts(response):
                    yield part
                    count += 1
                    if failure is not None and count == failure.responses:
                        await context.abort_with_status(failure.status)
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            if not call.done():
                raise
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
        finally:
            self.open_calls.discard(call)
            call.cancel()

    async def GetLog(self, request: pb.GetLogRequest, context: Context) -> Any:
        return await self._passed(self.stub.GetLog, request, context)

    async def GetPosition(self, request: pb.GetPositionRequest, context: Context) -> Any:
        return await self._passed(self.stub.GetPosition, request, context)

    async def GetStream(self, request: pb.GetStreamRequest, context: Context) -> Any:
        return await self._passed(self.stub.GetStream, request, context)

    async def ListStreams(self, request: pb.ListStreamsRequest, context: Context) -> Any:
        return await self._passed(self.stub.ListStreams, request, context)

    async def ReadTrace(self, request: pb.ReadTraceRequest, context: Context) -> Any:
        return await self._passed(self.stub.ReadTrace, request, context)

    async def ListCategories(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.ListCategories, request, context)

    async def ListEventTypes(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.ListEventTypes, request, context)

    async def SetStreamMetadata(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.SetStreamMetadata, request, context)

    async def SetStreamRetention(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.SetStreamRetention, request, context)

    async def DeleteStream(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.DeleteStream, request, context)

    async def TombstoneStream(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.TombstoneStream, request, context)

    async def RedactEvent(self, request: Any, context: Context) -> Any:
        return await self._passed(self.stub.RedactEvent, request, context)

    async def GetDatabaseStatus(
        self, request: pb.GetDatabaseStatusRequest, context: Context
    ) -> Any:
        return await self._passed(self.stub.GetDatabaseStatus, request, context)

    def _next(self, request: Any, context: Context) -> Failure | None:
        copied = type(request)()
        copied.CopyFrom(request)
        self.requests.append(copied)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        return self.failures.pop(0) if self.failures else None

    def _parts(self, response: pb.ReadResponse) -> list[pb.ReadResponse]:
        size = self.batch_max or max(1, len(response.events))
        parts = [
            pb.ReadResponse(
                events=response.events[start : start + size], incarnation=response.incarnation
            )
            for start in range(0, len(response.events), size)
        ] or [response]
        empty = pb.ReadResponse()
        return [one for part in parts for one in (empty, part, empty)] if self.pads else parts

    async def _passed(
        self, method: Callable[..., Awaitable[Any]], request: Any, context: Context
    ) -> Any:
        try:
            return await method(request, metadata=_token(context))
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)


@dataclass
class _Snapshots(SnapshotServiceServicer):
    """Passes calls on."""

    stub: "SnapshotServiceAsyncStub"

    async def LoadStream(self, request: Any, context: Context) -> AsyncIterator[Any]:
        async for response in self.stub.LoadStream(request, metadata=_token(context)):
            yield response

    async def SaveSnapshot(self, request: Any, context: Context) -> Any:
        return await self.stub.SaveSnapshot(request, metadata=_token(context))


def _token(context: Context) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if key in ("authorization", "x-correlation-id", "x-causation-id")
    )


async def _abort(context: Context, error: grpc.aio.AioRpcError) -> None:
    kept = ("grpc-status-details-bin",)
    trailing = tuple(pair for pair in error.trailing_metadata() or () if pair[0] in kept)
    await context.abort(error.code(), error.details() or "", trailing)


@asynccontextmanager
async def between(address: str) -> AsyncIterator[Between]:
    """One that serves inside the block."""
    async with open_channel(address) as channel:
        servicer = Between(EventStoreServiceStub(channel))
        server = grpc.aio.server()
        add_EventStoreServiceServicer_to_server(servicer, server)
        snapshots = _Snapshots(SnapshotServiceStub(channel))
        add_SnapshotServiceServicer_to_server(snapshots, server)
        servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield servicer
        finally:
            await server.stop(0)
