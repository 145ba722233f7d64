"""The rpcs of `TransferService`: convert, call, convert back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc.aio

from girih.events.v1 import transfer_pb2 as pb
from girih.ids import Position, TenantId
from services.events import domain
from services.events.carried.records import Outcome, Restored, SavedStream, TransferStore
from services.events.errors import LogNotEmpty, RestoreMisplaced
from services.events.reading.reader import Reader, ReadOptions
from services.events.reading.send_budget import SendBudget
from services.events.snapshot import STATE_BYTES_MAX
from services.events.snapshots import convert as snapshots_convert
from services.events.snapshots.snapshots import Snapshots
from services.events.store import EventStore
from services.events.transfer import convert
from services.plumbing import correlation, validation
from services.plumbing.errors import InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]

_HEADER_BYTES_MAX: Final = 2**20
_STREAMS_AT_A_TIME: Final = 500


class TransferServicer:
    """What is carried to and from the log of the calling tenant, over gRPC."""

    def __init__(
        self,
        transfers: TransferStore,
        store: EventStore,
        reader: Reader,
        snapshots: Snapshots,
        send_budget: SendBudget,
        restored: Callable[[TenantId, Position], None],
    ) -> None:
        """`restored` is told of a log that was restored up to a position."""
        self._transfers = transfers
        self._store = store
        self._reader = reader
        self._snapshots = snapshots
        self._send_budget = send_budget
        self._restored = restored

    async def ReadDigests(
        self, request: pb.ReadDigestsRequest, _context: Context
    ) -> pb.ReadDigestsResponse:
        validation.check(request)
        tenant = correlation.current().tenant
        start = Position(max(1, request.from_position))
        count_max = domain.page_size(request.page_size)
        page = await self._transfers.digests(tenant, start, count_max, _HEADER_BYTES_MAX)
        if request.incarnation not in ("", page.incarnation):
            read = ReadOptions(incarnation=request.incarnation)
            await self._reader.check_holds(
                tenant, read, start, request.incarnation, page.incarnation
            )
        # In a thread, since a full page takes some milliseconds.
        return await asyncio.to_thread(convert.digests_response, page)

    async def ReadSnapshots(
        self, request: pb.ReadSnapshotsRequest, _context: Context
    ) -> AsyncIterator[pb.ReadSnapshotsResponse]:
        validation.check(request)
        tenant = correlation.current().tenant
        after = Position(request.after_first_position)
        while True:
            streams = await self._transfers.saved_streams(tenant, after, _STREAMS_AT_A_TIME)
            for stream in streams:
                after = stream.first_position
                async with self._send_budget.reserved(tenant, STATE_BYTES_MAX):
                    response = await self._newest(tenant, stream)
                    if response is not None:
                        yield response
                    del response
            if len(streams) < _STREAMS_AT_A_TIME:
                return

    async def RestoreEvents(
        self, request: pb.RestoreEventsRequest, _context: Context
    ) -> pb.RestoreEventsResponse:
        tenant = correlation.current().tenant
        after = Position(request.after_position)
        # In a thread, since a full request takes a tenth of a second.
        records = await asyncio.to_thread(convert.carried_records, request)
        restored = await self._transfers.restore(tenant, after, records)
        _raise_unless_restored(restored, after)
        self._restored(tenant, restored.at)
        incarnation, _ = await self._store.end(tenant)
        return pb.RestoreEventsResponse(head_position=restored.at, incarnation=incarnation)

    async def _newest(
        self, tenant: TenantId, stream: SavedStream
    ) -> pb.ReadSnapshotsResponse | None:
        stored, end = await self._snapshots.newest(tenant, stream.name, 0)
        if stored is None:
            return None
        loaded = snapshots_convert.load_response(stored, 0, end)
        return pb.ReadSnapshotsResponse(
            stream=stream.name, first_position=stream.first_position, snapshot=loaded.snapshot
        )


def _raise_unless_restored(restored: Restored, after: Position) -> None:
    match restored.outcome:
        case Outcome.MISPLACED:
            raise RestoreMisplaced(after, restored.at)
        case Outcome.NOT_EMPTY:
            raise LogNotEmpty(restored.at)
        case Outcome.OUT_OF_ORDER:
            field = f"events[{restored.at - after - 1}].recorded"
            raise InvalidInput.of(field, "must follow those before it in revision and time")
        case Outcome.ID_STORED:
            raise InvalidInput.of("events", "must have ids that stand in the log once")
        case Outcome.RESTORED:
            return
