"""The journal of lattices on the event store. Knows its client, and no rule of lattices.

The stream `$lattice-<id>` holds everything of one lattice, the stream `$lattices` the
creations and deletions of all. A bitmap that is small when compressed travels inside
`lattice.created`. A larger one follows it, cut into events `lattice.blocked` that hold
its compressed bytes in order, since an event has an upper size.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import takewhile
from typing import TypeVar
from uuid import UUID

from girih.client import (
    Follower,
    NewEvent,
    Placement,
    Precondition,
    RecordedEvent,
)
from girih.ids import TenantId
from girih.lattice.v1 import chains_pb2 as chains_pb
from girih.lattice.v1 import fields_pb2 as fields_pb
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.domain import LatticeId
from services.lattice.state import field_records, records
from services.lattice.state.journal import (
    Appended,
    BlockedChanged,
    CatalogueChanged,
    CatalogueFollower,
    DamagedRecord,
    FieldEvent,
    FieldWritten,
    LatticeCreated,
    LatticeEvent,
    LatticeRecord,
    StreamChanged,
    StreamSlice,
    UnknownEvent,
)
from services.lattice.state.streams import EventStreams, json_event, payload_of
from services.plumbing.logging import get_logger

A = TypeVar("A")
R = TypeVar("R")

CATALOGUE_STREAM = "$lattices"
CREATED = "lattice.created"
BLOCKED = "lattice.blocked"
DELETED = "lattice.deleted"
FIELD_WRITTEN = "lattice.field-written"
FIELD_DELETED = "lattice.field-deleted"
BLOCKED_CHANGED = "lattice.blocked-changed"

_SCHEMA_VERSION = 1
_INLINE_BYTES_MAX = 1 << 20
"""Beyond this a compressed bitmap becomes events of its own: JSON adds a third to it."""
_PART_BYTES = 2 << 20

# What is larger, or more, is made and checked in a thread.
_LARGE_BYTES = 1 << 16
_MANY_EVENTS = 20

_log = get_logger("lattice")


class EventStoreJournal:
    """A `LatticeJournal` in streams of the event store.

    `is_serving` tells whether the event store served when it was asked last.
    """

    def __init__(
        self, streams: EventStreams, is_serving: Callable[[], bool] = lambda: True
    ) -> None:
        self._streams = streams
        self._is_serving = is_serving

    async def append_created(
        self,
        tenant: TenantId,
        created: LatticeCreated,
        command_id: UUID,
        *,
        catalogue_revision: int | None = None,
    ) -> Appended:
        is_large = len(created.blocked) > _LARGE_BYTES
        own = await _off_the_loop(is_large, _creation_events, created)
        summary = json_event(CATALOGUE_STREAM, CREATED, records.created_to_proto(created, b""))
        preconditions = [Precondition.absent(own[0].stream)]
        if catalogue_revision is not None:
            preconditions.append(Precondition.at(CATALOGUE_STREAM, catalogue_revision))
        placements = await self._append(tenant, command_id, [*own, summary], preconditions)
        return Appended(
            revision=placements[-2].revision,
            recorded_at=placements[-1].recorded_at,
            is_new=not placements[0].already_stored,
            catalogue_revision=placements[-1].revision,
            incarnation=placements[-1].incarnation,
        )

    async def append_deleted(
        self, tenant: TenantId, lattice_id: LatticeId, *, expected_revision: int, command_id: UUID
    ) -> int:
        payload = pb.LatticeDeleted(lattice_id=lattice_id)
        streams = (lattice_stream(lattice_id), CATALOGUE_STREAM)
        deletions = [json_event(stream, DELETED, payload) for stream in streams]
        unchanged = [Precondition.at(streams[0], expected_revision)]
        placements = await self._append(tenant, command_id, deletions, unchanged)
        return placements[-1].revision

    async def append_field(
        self, tenant: TenantId, event: FieldEvent, *, expected_revision: int, command_id: UUID
    ) -> LatticeRecord:
        stream = lattice_stream(event.lattice_id)
        if isinstance(event, FieldWritten):
            new = json_event(stream, FIELD_WRITTEN, field_records.written_to_proto(event))
        else:
            new = json_event(stream, FIELD_DELETED, field_records.deleted_to_proto(event))
        unchanged = [Precondition.at(stream, expected_revision)]
        (placement,) = await self._append(tenant, command_id, [new], unchanged)
        return LatticeRecord(
            revision=placement.revision,
            recorded_at=placement.recorded_at,
            event=event,
            incarnation=placement.incarnation,
        )

    async def append_blocked(
        self, tenant: TenantId, event: BlockedChanged, *, command_id: UUID
    ) -> Appended:
        unchanged = [Precondition.at(lattice_stream(event.lattice_id), event.revision - 1)]
        changes = await change_events(event)
        placements = await self._append(tenant, command_id, changes, unchanged)
        return Appended(
            revision=placements[0].revision,
            recorded_at=placements[0].recorded_at,
            is_new=not placements[0].already_stored,
            catalogue_revision=placements[-1].revision,
            incarnation=placements[-1].incarnation,
        )

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        events = await self._streams.read(
            tenant, lattice_stream(lattice_id), after_revision + 1, incarnation
        )
        recorded = await _off_the_loop(_is_long(events), _records, events)
        if not events:
            return StreamSlice(revision=after_revision, recorded=(), incarnation=incarnation)
        last = events[-1]
        return StreamSlice(revision=last.revision, recorded=recorded, incarnation=last.incarnation)

    async def history(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        limit: int | None = None,
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        stream = lattice_stream(lattice_id)
        reading = self._streams.read_batches(tenant, stream, after_revision + 1, "", limit)
        async with aclosing(reading) as batches:
            async for batch in batches:
                yield await _off_the_loop(_is_long(batch), _summaries, batch)

    async def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        reading = self._streams.read_batches(
            tenant, CATALOGUE_STREAM, after_revision + 1, incarnation
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                yield await _off_the_loop(_is_long(batch), _records, batch)

    def follower(
        self,
        tenant: TenantId,
        fold: Callable[[Sequence[LatticeRecord]], None],
        began: Callable[[str], None],
    ) -> CatalogueFollower:
        async def start() -> int:
            revision = await self._streams.head_revision(CATALOGUE_STREAM)
            began(follower.incarnation)
            return revision

        follower = self._streams.follower(
            CATALOGUE_STREAM,
            lambda batch: fold(_records(batch)),
            start=start,
            on_interrupted=lambda error: _log.warning(
                "a catalogue is not followed now", tenant=tenant, problem=str(error)
            ),
        )
        return _EventsFollower(follower, self._is_serving)

    async def _append(
        self,
        tenant: TenantId,
        command_id: UUID,
        events: Sequence[NewEvent],
        preconditions: Sequence[Precondition],
    ) -> Sequence[Placement]:
        try:
            return await self._streams.append(tenant, command_id, events, preconditions)
        except StreamChanged as error:
            # A lattice's own stream is first among the preconditions.
            if error.stream == CATALOGUE_STREAM:
                raise CatalogueChanged(str(error)) from error
            raise


class _EventsFollower:
    """A catalogue's follower, which is not current either while the event store is away.

    A store that vanished without a word is noticed by its health before it is by a call that
    only waits.
    """

    def __init__(self, follower: Follower, is_serving: Callable[[], bool]) -> None:
        self.run = follower.run
        self._follower = follower
        self._is_serving = is_serving

    @property
    def revision(self) -> int:
        return self._follower.place

    @property
    def is_current(self) -> bool:
        return self._follower.is_current and self._is_serving()


async def change_events(event: BlockedChanged) -> list[NewEvent]:
    """What records a change of blocked sites: in the stream of the lattice, then in the
    catalogue."""
    stream = lattice_stream(event.lattice_id)
    is_large = len(event.blocked) > _LARGE_BYTES
    compressed = await _off_the_loop(is_large, zlib.compress, event.blocked)
    whole = records.blocked_to_proto(event, compressed if event.blocked else b"")
    summary = records.blocked_to_proto(event, b"")
    return [
        await _off_the_loop(is_large, partial(json_event, stream, BLOCKED_CHANGED), whole),
        json_event(CATALOGUE_STREAM, BLOCKED_CHANGED, summary),
    ]


def _creation_events(created: LatticeCreated) -> list[NewEvent]:
    stream = lattice_stream(created.lattice_id)
    compressed = zlib.compress(created.blocked) if created.blocked else b""
    inline = compressed if len(compressed) <= _INLINE_BYTES_MAX else b""
    first = json_event(stream, CREATED, records.created_to_proto(created, inline))
    return [first] if inline == compressed else [first, *_blocked_events(stream, compressed)]


def _blocked_events(stream: str, compressed: bytes) -> Iterator[NewEvent]:
    for start in range(0, len(compressed), _PART_BYTES):
        yield NewEvent(
            stream=stream,
            type=BLOCKED,
            schema_version=_SCHEMA_VERSION,
            binary=compressed[start : start + _PART_BYTES],
            content_type="application/zlib",
        )


def _is_long(events: Sequence[RecordedEvent]) -> bool:
    """Parsing these takes long enough to be noticed by other calls."""
    return len(events) > _MANY_EVENTS or sum(map(_payload_size, events)) > _LARGE_BYTES


def _payload_size(event: RecordedEvent) -> int:
    return len(event.json or event.binary or b"")


def _records(events: Sequence[RecordedEvent], *, with_bitmaps: bool = True) -> list[LatticeRecord]:
    """What the events record. One that cannot be read is an unknown event: left out, the
    catalogue's last would be read again and again.
    """
    return [
        LatticeRecord(
            revision=event.revision,
            recorded_at=event.recorded_at,
            event=_readable_event(events, index, with_bitmaps=with_bitmaps),
            incarnation=event.incarnation,
            actor=event.actor,
            correlation_id=event.correlation_id,
        )
        for index, event in enumerate(events)
        if event.type != BLOCKED or event.stream == CATALOGUE_STREAM
    ]


def _summaries(events: Sequence[RecordedEvent]) -> list[LatticeRecord]:
    return _records(events, with_bitmaps=False)


def _readable_event(
    events: Sequence[RecordedEvent], index: int, *, with_bitmaps: bool
) -> LatticeEvent:
    event = events[index]
    try:
        return _lattice_event(events, index, with_bitmaps=with_bitmaps)
    except DamagedRecord as error:
        _log.warning(
            "a record cannot be read and is passed over",
            stream=event.stream,
            position=event.position,
            event_id=event.id,
            problem=str(error),
        )
        return UnknownEvent(event_type=event.type)


def _lattice_event(
    events: Sequence[RecordedEvent], index: int, *, with_bitmaps: bool
) -> LatticeEvent:
    """What an event records; raises DamagedRecord when that is not what its type says."""
    event = events[index]
    if event.type in (FIELD_WRITTEN, FIELD_DELETED):
        return _field_event(event)
    if event.type == BLOCKED_CHANGED:
        changed = records.blocked_from_proto(payload_of(event, chains_pb.BlockedChanged()))
        _check_stream(event.stream, changed.lattice_id)
        return changed
    if event.type not in (CREATED, DELETED):
        return UnknownEvent(event_type=event.type)
    if event.type == DELETED:
        deleted = records.deleted_from_proto(payload_of(event, pb.LatticeDeleted()))
        _check_stream(event.stream, deleted.lattice_id)
        return deleted
    payload = payload_of(event, pb.LatticeCreated())
    if event.stream == CATALOGUE_STREAM or not with_bitmaps:
        return records.created_from_proto(payload, b"")
    return _own_creation(events, index, payload)


def _field_event(event: RecordedEvent) -> FieldEvent:
    field_event: FieldEvent
    if event.type == FIELD_WRITTEN:
        field_event = field_records.written_from_proto(payload_of(event, fields_pb.FieldWritten()))
    else:
        field_event = field_records.deleted_from_proto(payload_of(event, fields_pb.FieldDeleted()))
    if event.stream != lattice_stream(field_event.lattice_id):
        raise DamagedRecord("lattice_id is not that of the stream")
    return field_event


def _own_creation(
    events: Sequence[RecordedEvent], index: int, payload: pb.LatticeCreated
) -> LatticeCreated:
    """A creation with its bitmap, which is in it or in the parts right after it."""
    if events[index].revision != 0:
        raise DamagedRecord("a creation is not the first of its stream")
    is_elsewhere = bool(payload.blocked_array)
    has_parts = payload.blocked_digest and not payload.blocked_zlib and not is_elsewhere
    bitmap = _joined_parts(events[index + 1 :]) if has_parts else payload.blocked_zlib
    created = records.created_from_proto(payload, bitmap)
    _check_stream(events[index].stream, created.lattice_id)
    if created.blocked_digest and not created.blocked and not is_elsewhere:
        raise DamagedRecord("the bitmap of blocked sites is missing")
    return created


def _joined_parts(events: Sequence[RecordedEvent]) -> bytes:
    parts = takewhile(lambda event: event.type == BLOCKED, events)
    return b"".join(event.binary or b"" for event in parts)


def _check_stream(stream: str, lattice_id: LatticeId) -> None:
    if stream not in (CATALOGUE_STREAM, lattice_stream(lattice_id)):
        raise DamagedRecord("lattice_id is not that of the stream")


def lattice_stream(lattice_id: LatticeId) -> str:
    """The stream that everything of a lattice is in."""
    return f"$lattice-{lattice_id}"


async def _off_the_loop(is_long: bool, work: Callable[[A], R], argument: A) -> R:
    return await asyncio.to_thread(work, argument) if is_long else work(argument)
