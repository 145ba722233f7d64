"""The rpcs of `SnapshotService`: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import grpc.aio

from girih.events.v1 import snapshots_pb2 as pb
from girih.ids import Position, Revision, StreamName, TenantId
from services.events import record
from services.events.domain import LogEnd
from services.events.reading.reader import Reader, ReadOptions
from services.events.reading.send_budget import SendBudget
from services.events.snapshot import STATE_BYTES_MAX
from services.events.snapshots import convert
from services.events.snapshots.snapshots import Snapshots
from services.plumbing import correlation

Context = grpc.aio.ServicerContext[Any, Any]


class Upcasts(Protocol):
    """Who makes old events new ones."""

    def of(
        self, tenant: TenantId, responses: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The same responses with events as upcasters make them."""


class SnapshotServicer:
    """The snapshots of the calling tenant's streams, over gRPC."""

    def __init__(
        self, snapshots: Snapshots, reader: Reader, upcasts: Upcasts, send_budget: SendBudget
    ) -> None:
        self._snapshots = snapshots
        self._reader = reader
        self._upcasts = upcasts
        self._send_budget = send_budget

    async def SaveSnapshot(
        self, request: pb.SaveSnapshotRequest, _context: Context
    ) -> pb.SaveSnapshotResponse:
        state = await asyncio.to_thread(convert.asked_state, request)
        stream = StreamName(request.stream)
        tenant = correlation.current().tenant
        read_in = LogEnd(request.incarnation, Position(request.read_position))
        is_kept = await self._snapshots.save(tenant, stream, state, read_in)
        return pb.SaveSnapshotResponse(kept=is_kept, digest=state.digest.hex())

    async def LoadStream(
        self, request: pb.LoadStreamRequest, _context: Context
    ) -> AsyncIterator[bytes]:
        stream = convert.asked_load(request)
        tenant = correlation.current().tenant
        async with self._send_budget.reserved(tenant, STATE_BYTES_MAX) as held:
            stored, end = await self._snapshots.newest(tenant, stream, request.schema_version)
            first = convert.load_response(stored, request.schema_version, end)
            begins = Revision(stored.state.revision + 1 if stored else 0)
            del stored
            yield first.SerializeToString()
            del first
            held.keep(0)
        behind = ReadOptions(stream=stream, from_revision=begins, incarnation=end.incarnation)
        responses = self._tail(tenant, behind)
        if request.upcast:
            responses = self._upcasts.of(tenant, responses)
        async with aclosing(responses):
            async for response in responses:
                yield response
                del response

    async def _tail(self, tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._reader.read(tenant, options)) as pages:
            async for page in pages:
                # The fields of `ReadResponse` have the same numbers.
                response = record.response_of(page.fields, page.incarnation)
                has_records = bool(page.fields)
                del page
                if has_records:
                    yield response
                del response
