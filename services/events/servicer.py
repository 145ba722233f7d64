"""The rpcs of `EventStoreService`: convert, call, convert back."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import grpc.aio

from girih.events.v1 import events_pb2 as pb
from services.events import convert
from services.events.domain import Placement, Proposal
from services.events.errors import StreamNotFound
from services.events.reader import Reader
from services.events.store import DatabaseStatus, EventStore
from services.plumbing import correlation

Context = grpc.aio.ServicerContext[Any, Any]


class Appender(Protocol):
    """Who appends to the logs."""

    async def append(self, tenant: str, proposal: Proposal) -> Sequence[Placement]:
        """Append all of `proposal` or nothing; returns once it is durable."""


class DatabaseReporter(Protocol):
    """Who knows how the database is."""

    async def status(self) -> DatabaseStatus:
        """How it is now."""


class EventStoreServicer:
    """The log of the calling tenant, over gRPC."""

    def __init__(self, appender: Appender, store: EventStore, database: DatabaseReporter) -> None:
        self._appender = appender
        self._store = store
        self._reader = Reader(store)
        self._database = database

    async def Append(self, request: pb.AppendRequest, _context: Context) -> pb.AppendResponse:
        call = correlation.current()
        proposal = await convert.proposal(request, call)
        return convert.append_response(await self._appender.append(call.tenant, proposal))

    async def Read(self, request: pb.ReadRequest, _context: Context) -> AsyncIterator[bytes]:
        span = convert.span(request)
        tenant = correlation.current().tenant
        async with aclosing(self._reader.read(tenant, span)) as pages:
            async for records in pages:
                yield convert.read_response(records)

    async def GetStream(
        self, request: pb.GetStreamRequest, _context: Context
    ) -> pb.GetStreamResponse:
        stream = convert.stream_name(request)
        ends = await self._store.stream_ends(correlation.current().tenant, stream)
        if ends is None:
            raise StreamNotFound(f"the stream {stream} does not exist", stream=stream)
        return convert.stream_response(stream, ends)

    async def GetLog(self, _request: pb.GetLogRequest, _context: Context) -> pb.GetLogResponse:
        head = await self._store.head(correlation.current().tenant)
        return pb.GetLogResponse(head_position=head)

    async def GetDatabaseStatus(
        self, _request: pb.GetDatabaseStatusRequest, _context: Context
    ) -> pb.GetDatabaseStatusResponse:
        return convert.database_response(await self._database.status())
