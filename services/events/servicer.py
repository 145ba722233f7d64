"""The rpcs of `EventStoreService`: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

import grpc.aio

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.ids import Position, TenantId
from services.events import convert, ownership, record, rulings
from services.events.appending.pipeline import Pipeline
from services.events.domain import Placement, Proposal
from services.events.errors import StreamNotFound
from services.events.keeping.keeper import Ruling, StreamKeeper
from services.events.reading.follower import Followers
from services.events.reading.reader import Reader, ReadOptions
from services.events.reading.signals import Checkpoint
from services.events.reading.traces import Traces
from services.events.schemas.reading import Upcasts
from services.events.store import DatabaseStatus, EventStore
from services.plumbing import correlation
from services.plumbing.errors import ServiceError
from services.plumbing.grpc.chain import accept
from services.plumbing.grpc.requests import MessageTooLarge, Requests

Context = grpc.aio.ServicerContext[Any, Any]


class Appender(Protocol):
    """Who appends to the logs."""

    async def check(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        """`proposal` as it may be appended, once nothing is found against its events."""

    async def look_back(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        """`proposal` as it is to be appended, when that takes looking into the log first."""

    async def append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        """Append all of what was checked or nothing; returns once it is durable."""


class DatabaseReporter(Protocol):
    """Who knows how the database is."""

    async def status(self) -> DatabaseStatus:
        """How it is now."""


class EventStoreServicer:
    """The log of the calling tenant, over gRPC."""

    def __init__(
        self,
        appender: Appender,
        store: EventStore,
        reader: Reader,
        followers: Followers,
        upcasts: Upcasts,
        traces: Traces,
        keeper: StreamKeeper,
        database: DatabaseReporter,
        domain: str,
        stopping: asyncio.Event,
    ) -> None:
        """`domain` stands in refusals; `stopping` is set when streams are to end."""
        self._appender = appender
        self._store = store
        self._reader = reader
        self._followers = followers
        self._upcasts = upcasts
        self._traces = traces
        self._keeper = keeper
        self._database = database
        self._domain = domain
        self._stopping = stopping

    async def Append(self, request: pb.AppendRequest, _context: Context) -> pb.AppendResponse:
        call = correlation.current()
        proposal = await self._proposal(request, call)
        del request  # what is to be stored has been taken out of it
        return convert.append_response(await self._appender.append(call.tenant, proposal))

    async def AppendStream(
        self, requests: Requests[pb.AppendStreamRequest], _context: Context
    ) -> AsyncIterator[pb.AppendStreamResponse]:
        pipeline = Pipeline(self._begin_append, _size_of, self._stopping)
        async with (
            aclosing(requests.unsettled()) as unsettled,
            aclosing(pipeline.answers(unsettled)) as responses,
        ):
            async for response in responses:
                yield response
                requests.settle()

    async def Read(self, request: pb.ReadRequest, context: Context) -> AsyncIterator[bytes]:
        options = convert.options(request)
        tenant = correlation.current().tenant
        if options.is_followed:
            responses = self._followers.follow(tenant, options, partial(accept, context))
        else:
            await accept(context)
            responses = self._read(tenant, options)
        async with aclosing(self._upcast(request, tenant, responses)) as responses:
            async for response in responses:
                yield response
                del response

    async def GetStream(
        self, request: pb.GetStreamRequest, _context: Context
    ) -> pb.GetStreamResponse:
        stream = convert.stream_name(request)
        ends = await self._store.stream_ends(correlation.current().tenant, stream)
        if ends is None:
            raise StreamNotFound(f"the stream {stream} does not exist", stream=stream)
        return convert.stream_response(stream, ends)

    async def ListStreams(
        self, request: pb.ListStreamsRequest, _context: Context
    ) -> pb.ListStreamsResponse:
        asked = convert.streams_request(request)
        streams = await self._store.streams(correlation.current().tenant, asked)
        # In a thread, since a full page takes some milliseconds.
        return await asyncio.to_thread(convert.streams_response, streams, asked.count_max)

    async def ReadTrace(
        self, request: pb.ReadTraceRequest, _context: Context
    ) -> pb.ReadTraceResponse:
        asked = convert.trace_request(request)
        trace = await self._traces.read(correlation.current().tenant, asked)
        # In a thread, as a page of streams.
        return await asyncio.to_thread(convert.trace_response, trace)

    async def GetLog(self, _request: pb.GetLogRequest, _context: Context) -> pb.GetLogResponse:
        end = await self._store.end(correlation.current().tenant)
        return pb.GetLogResponse(head_position=end.head, incarnation=end.incarnation)

    async def GetPosition(
        self, request: pb.GetPositionRequest, _context: Context
    ) -> pb.GetPositionResponse:
        time = convert.position_request(request)
        incarnation, position = await self._store.position_at(correlation.current().tenant, time)
        return pb.GetPositionResponse(position=position, incarnation=incarnation)

    async def ListCategories(
        self, request: keeping_pb.ListCategoriesRequest, _context: Context
    ) -> keeping_pb.ListCategoriesResponse:
        asked = rulings.tallies_request(request)
        page = await self._store.tallies(correlation.current().tenant, asked)
        return rulings.categories_response(page, asked.count_max)

    async def ListEventTypes(
        self, request: keeping_pb.ListEventTypesRequest, _context: Context
    ) -> keeping_pb.ListEventTypesResponse:
        asked = rulings.tallies_request(request)
        page = await self._store.tallies(correlation.current().tenant, asked)
        return rulings.types_response(page, asked.count_max)

    async def SetStreamMetadata(
        self, request: keeping_pb.SetStreamMetadataRequest, _context: Context
    ) -> keeping_pb.SetStreamMetadataResponse:
        ruling = rulings.metadata_ruling(request, correlation.current())
        return keeping_pb.SetStreamMetadataResponse(version=await self._rule(ruling))

    async def SetStreamRetention(
        self, request: keeping_pb.SetStreamRetentionRequest, _context: Context
    ) -> keeping_pb.SetStreamRetentionResponse:
        ruling = rulings.retention_ruling(request, correlation.current())
        return keeping_pb.SetStreamRetentionResponse(position=await self._rule(ruling))

    async def DeleteStream(
        self, request: keeping_pb.DeleteStreamRequest, _context: Context
    ) -> keeping_pb.DeleteStreamResponse:
        ruling = rulings.ending_ruling(request, correlation.current())
        return keeping_pb.DeleteStreamResponse(position=await self._rule(ruling))

    async def TombstoneStream(
        self, request: keeping_pb.TombstoneStreamRequest, _context: Context
    ) -> keeping_pb.TombstoneStreamResponse:
        ruling = rulings.ending_ruling(request, correlation.current())
        return keeping_pb.TombstoneStreamResponse(position=await self._rule(ruling))

    async def RedactEvent(
        self, request: keeping_pb.RedactEventRequest, _context: Context
    ) -> keeping_pb.RedactEventResponse:
        call = correlation.current()
        target = await self._keeper.event_at(call.tenant, rulings.redacted_position(request))
        ruling = rulings.redaction_ruling(request, target, call)
        placement = await self._keeper.redact(call.tenant, target, ruling)
        return keeping_pb.RedactEventResponse(position=placement.position)

    async def GetDatabaseStatus(
        self, _request: pb.GetDatabaseStatusRequest, _context: Context
    ) -> pb.GetDatabaseStatusResponse:
        return convert.database_response(await self._database.status())

    async def _rule(self, ruling: Ruling) -> Position:
        """The position of the event that says it."""
        return (await self._keeper.rule(correlation.current().tenant, ruling)).position

    async def _read(self, tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._reader.read(tenant, options)) as pages:
            async for page in pages:
                response = record.response_of(page.fields, page.incarnation)
                looked_at, incarnation = page.looked_at, page.incarnation
                has_records = bool(page.fields)
                del page
                if has_records:
                    yield response
                del response
                if options.has_progress and looked_at is not None:
                    yield record.signal_response(Checkpoint(looked_at), incarnation)

    def _upcast(
        self, request: pb.ReadRequest, tenant: TenantId, responses: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        return self._upcasts.of(tenant, responses) if request.upcast else responses

    async def _begin_append(
        self, request: pb.AppendStreamRequest | MessageTooLarge
    ) -> "asyncio.Future[pb.AppendStreamResponse]":
        """Look through a request now, so that none is queued before an earlier one."""
        if isinstance(request, MessageTooLarge):
            return self._refused(request)
        call = correlation.current()
        try:
            proposal = await self._proposal(request, call)
        except ServiceError as error:
            return self._refused(error)
        return asyncio.create_task(self._append_one(call.tenant, proposal), name="append one")

    async def _proposal(
        self, request: pb.AppendRequest | pb.AppendStreamRequest, call: correlation.Call
    ) -> Proposal:
        """What is to be appended; raises `StreamOwned` for streams that are not the caller's."""
        proposal = await convert.proposal(request, call)
        service = call.principal.service if call.principal else ""
        ownership.check({event.stream for event in proposal.events}, service)
        proposal = await self._appender.check(call.tenant, proposal)
        if not proposal.preconditions:
            return proposal
        return await self._appender.look_back(call.tenant, proposal)

    def _refused(self, error: ServiceError) -> "asyncio.Future[pb.AppendStreamResponse]":
        refused = asyncio.get_running_loop().create_future()
        refused.set_result(convert.append_stream_refusal(error, self._domain))
        return refused

    async def _append_one(self, tenant: TenantId, proposal: Proposal) -> pb.AppendStreamResponse:
        try:
            placements = await self._appender.append(tenant, proposal)
        except ServiceError as error:
            return convert.append_stream_refusal(error, self._domain)
        return convert.append_stream_response(placements)


def _size_of(request: pb.AppendStreamRequest | MessageTooLarge) -> int:
    return 0 if isinstance(request, MessageTooLarge) else request.ByteSize()
