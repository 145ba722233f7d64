"""The journal of lattices on the event store. Knows its rpcs, and no rule of lattices.

The stream `lattice-<id>` holds everything of one lattice, the stream `lattices` the
creations and deletions of all. A bitmap that is small when compressed travels inside
`lattice.created`. A larger one follows it, cut into events `lattice.blocked` that hold
its compressed bytes in order, since an event has an upper size.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import TypeVar
from uuid import UUID, uuid5

import grpc
import grpc.aio
from google.protobuf import json_format

from girih.events.v1 import events_pb2 as events
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.errors import EventStoreUnavailable
from services.lattice.state import records
from services.lattice.state.journal import (
    Appended,
    CatalogueChanged,
    DamagedRecord,
    LatticeCreated,
    LatticeEvent,
    LatticeRecord,
    StreamChanged,
    StreamSlice,
    UnknownEvent,
)
from services.plumbing import correlation
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import Bearer
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.logging import get_logger
from services.policy import EVENTS

A = TypeVar("A")
R = TypeVar("R")
P = TypeVar("P", pb.LatticeCreated, pb.LatticeDeleted)

ReadCall = grpc.aio.UnaryStreamCall[events.ReadRequest, events.ReadResponse]

CATALOGUE_STREAM = "lattices"
CREATED = "lattice.created"
BLOCKED = "lattice.blocked"
DELETED = "lattice.deleted"

_SCOPES = ("events.append", "events.read")
_SCHEMA_VERSION = 1
_INLINE_BYTES_MAX = 1 << 20
"""Beyond this a compressed bitmap becomes events of its own: JSON adds a third to it."""
_PART_BYTES = 2 << 20

# What is larger, or more, is made and checked in a thread.
_LARGE_BYTES = 1 << 16
_MANY_EVENTS = 20

_LOST_RACES = {"PRECONDITION_FAILED", "EVENT_ID_REUSED"}
_AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}

_log = get_logger("lattice")


def acting_bearer(issuer: Issuer) -> Bearer:
    """For `open_channel`: this service's own token, for whoever makes the current call.

    What is asked for nobody, as whether the event store serves, carries none.
    """

    def bearer() -> str:
        call = correlation.bound()
        if call is None or not call.tenant:
            return ""
        if call.principal is None or call.principal.tenant != call.tenant:
            raise RuntimeError("nobody of the tenant makes this call")
        return issuer.service_token(EVENTS, call.tenant, _SCOPES, call.principal)

    return bearer


class EventStoreJournal:
    """A `LatticeJournal` through the stubs of the event store.

    Every call is made for the principal of the call being served, on a channel with
    `acting_bearer`. `patience_s` tells how long an answer is waited for at the moment.
    """

    def __init__(self, channel: grpc.aio.Channel, patience_s: Callable[[], float]) -> None:
        self._stub = EventStoreServiceStub(channel)
        self._patience_s = patience_s

    async def append_created(
        self,
        tenant: str,
        created: LatticeCreated,
        command_id: UUID,
        *,
        catalogue_revision: int | None = None,
    ) -> Appended:
        is_large = len(created.blocked) > _LARGE_BYTES
        own = await _off_the_loop(is_large, _creation_events, created)
        summary = _json_event(CATALOGUE_STREAM, CREATED, records.created_to_proto(created, b""))
        preconditions = [_at(own[0].stream, -1)]
        if catalogue_revision is not None:
            preconditions.append(_at(CATALOGUE_STREAM, catalogue_revision))
        placements = await self._append(tenant, command_id, [*own, summary], preconditions)
        # The answer to an append tells places, not times: the summary is small enough to
        # be read for its time, which is that of the whole append.
        catalogued = await self._read_one(tenant, CATALOGUE_STREAM, placements[-1].revision)
        return Appended(
            revision=placements[-2].revision,
            recorded_at=_recorded_at(catalogued),
            is_new=not placements[0].already_stored,
        )

    async def append_deleted(
        self, tenant: str, lattice_id: str, *, expected_revision: int, command_id: UUID
    ) -> None:
        payload = pb.LatticeDeleted(lattice_id=lattice_id)
        streams = (_stream(lattice_id), CATALOGUE_STREAM)
        deletions = [_json_event(stream, DELETED, payload) for stream in streams]
        unchanged = [_at(streams[0], expected_revision)]
        await self._append(tenant, command_id, deletions, unchanged)

    async def read(self, tenant: str, lattice_id: str, *, after_revision: int = -1) -> StreamSlice:
        request = events.ReadRequest(stream=_stream(lattice_id), from_revision=after_revision + 1)
        found = await self._read(tenant, request)
        recorded = await _off_the_loop(_is_long(found), _recorded, found)
        return StreamSlice(
            revision=found[-1].revision if found else after_revision, recorded=recorded
        )

    async def catalogue(
        self, tenant: str, *, after_revision: int
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        request = events.ReadRequest(stream=CATALOGUE_STREAM, from_revision=after_revision + 1)
        async with aclosing(self._read_batches(tenant, request)) as batches:
            async for batch in batches:
                yield await _off_the_loop(_is_long(batch), _recorded, batch)

    async def _append(
        self,
        tenant: str,
        command_id: UUID,
        happened: Sequence[events.Event],
        preconditions: Sequence[events.Precondition],
    ) -> Sequence[events.Placement]:
        for ordinal, event in enumerate(happened):
            event.id = str(uuid5(command_id, str(ordinal)))
        request = events.AppendRequest(events=happened, preconditions=preconditions)
        with _refusals_named(), _on_behalf_of(tenant, command_id):
            response = await self._stub.Append(request, timeout=self._remaining_s())
        placements: Sequence[events.Placement] = response.placements
        return placements

    async def _read_one(self, tenant: str, stream: str, revision: int) -> events.RecordedEvent:
        request = events.ReadRequest(stream=stream, from_revision=revision, limit=1)
        return (await self._read(tenant, request))[0]

    async def _read(self, tenant: str, request: events.ReadRequest) -> list[events.RecordedEvent]:
        async with aclosing(self._read_batches(tenant, request)) as batches:
            return [event async for batch in batches for event in batch]

    async def _read_batches(
        self, tenant: str, request: events.ReadRequest
    ) -> AsyncGenerator[Sequence[events.RecordedEvent]]:
        with _on_behalf_of(tenant):
            call = self._stub.Read(request)
        try:
            while response := await self._next(call):
                yield response.events
        finally:
            call.cancel()

    async def _next(self, call: ReadCall) -> events.ReadResponse | None:
        """The next answer of a stream, None at its end. Each is waited for anew."""
        with _refusals_named():
            async with asyncio.timeout(self._patience_s()):
                response = await call.read()
        return response if isinstance(response, events.ReadResponse) else None

    def _remaining_s(self) -> float:
        """As long as this process waits for the event store, or the caller if that is less."""
        remaining_s = correlation.current().remaining_s()
        patience_s = self._patience_s()
        return patience_s if remaining_s is None else min(patience_s, remaining_s)


def _at(stream: str, revision: int) -> events.Precondition:
    """A stream is at a revision; at -1 it has no events."""
    if revision < 0:
        return events.Precondition(stream=stream, state=events.Precondition.STATE_ABSENT)
    return events.Precondition(stream=stream, revision=revision)


def _creation_events(created: LatticeCreated) -> list[events.Event]:
    stream = _stream(created.lattice_id)
    compressed = zlib.compress(created.blocked) if created.blocked else b""
    inline = compressed if len(compressed) <= _INLINE_BYTES_MAX else b""
    first = _json_event(stream, CREATED, records.created_to_proto(created, inline))
    return [first] if inline == compressed else [first, *_blocked_events(stream, compressed)]


def _blocked_events(stream: str, compressed: bytes) -> Iterator[events.Event]:
    for start in range(0, len(compressed), _PART_BYTES):
        yield events.Event(
            stream=stream,
            type=BLOCKED,
            schema_version=_SCHEMA_VERSION,
            binary=compressed[start : start + _PART_BYTES],
            content_type="application/zlib",
        )


def _is_long(found: Sequence[events.RecordedEvent]) -> bool:
    """Reading these takes long enough to be noticed by other calls."""
    return len(found) > _MANY_EVENTS or sum(one.ByteSize() for one in found) > _LARGE_BYTES


def _recorded(found: Sequence[events.RecordedEvent]) -> list[LatticeRecord]:
    """What the events say, without those that say nothing that can be read."""
    recorded = []
    for place, event in enumerate(found):
        if event.event.type == BLOCKED:
            continue
        try:
            recorded_event = _lattice_event(found, place)
        except DamagedRecord as error:
            _log.warning(
                "a record cannot be read and is skipped",
                stream=event.event.stream,
                position=event.position,
                event_id=event.event.id,
                problem=str(error),
            )
            continue
        at = _recorded_at(event)
        recorded.append(
            LatticeRecord(revision=event.revision, recorded_at=at, event=recorded_event)
        )
    return recorded


def _lattice_event(found: Sequence[events.RecordedEvent], place: int) -> LatticeEvent:
    """What an event says; raises DamagedRecord when that is not what its type says."""
    event = found[place].event
    if event.type not in (CREATED, DELETED):
        return UnknownEvent(event_type=event.type)
    if event.type == DELETED:
        deleted = records.deleted_from_proto(_payload(event, pb.LatticeDeleted()))
        _check_stream(event.stream, deleted.lattice_id)
        return deleted
    payload = _payload(event, pb.LatticeCreated())
    if event.stream == CATALOGUE_STREAM:
        return records.created_from_proto(payload, b"")
    return _own_creation(found, place, payload)


def _own_creation(
    found: Sequence[events.RecordedEvent], place: int, payload: pb.LatticeCreated
) -> LatticeCreated:
    """A creation with its bitmap, which is in it or in the parts right after it."""
    if found[place].revision != 0:
        raise DamagedRecord("a creation is not the first of its stream")
    has_parts = payload.blocked_digest and not payload.blocked_zlib
    parts = _parts(found[place + 1 :]) if has_parts else payload.blocked_zlib
    created = records.created_from_proto(payload, parts)
    _check_stream(found[place].event.stream, created.lattice_id)
    if created.blocked_digest and not created.blocked:
        raise DamagedRecord("the bitmap of blocked sites is missing")
    return created


def _parts(found: Sequence[events.RecordedEvent]) -> bytes:
    parts = takewhile(lambda one: one.event.type == BLOCKED, found)
    return b"".join(one.event.binary for one in parts)


def _payload(event: events.Event, empty: P) -> P:
    # Python's and protobuf's parsers tell of odd JSON by all of these, and in their words
    # repeat some of it.
    try:
        return json_format.Parse(event.json, empty, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRecord(f"the payload is not that of {event.type}") from error


def _check_stream(stream: str, lattice_id: str) -> None:
    if stream not in (CATALOGUE_STREAM, _stream(lattice_id)):
        raise DamagedRecord("lattice_id is not that of the stream")


def _json_event(
    stream: str, event_type: str, payload: pb.LatticeCreated | pb.LatticeDeleted
) -> events.Event:
    return events.Event(
        stream=stream,
        type=event_type,
        schema_version=_SCHEMA_VERSION,
        json=json_format.MessageToJson(payload, indent=None),
    )


def _recorded_at(event: events.RecordedEvent) -> datetime:
    return event.recorded_at.ToDatetime(tzinfo=UTC)


def _stream(lattice_id: str) -> str:
    return f"lattice-{lattice_id}"


async def _off_the_loop(is_long: bool, work: Callable[[A], R], argument: A) -> R:
    return await asyncio.to_thread(work, argument) if is_long else work(argument)


@contextmanager
def _on_behalf_of(tenant: str, command_id: UUID | None = None) -> Iterator[None]:
    """Calls begun inside are for this tenant, and tell what caused them unless the caller did.

    Who makes them stays who made the call being served, also in a task that goes on for
    others when it has ended: the event store is told who began it.
    """
    call = correlation.current()
    cause = call.causation_id or str(command_id or "")
    with correlation.bind(replace(call, tenant=tenant, causation_id=cause)):
        yield


@contextmanager
def _refusals_named() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _named(from_rpc_error(error)) from error
    except TimeoutError as error:
        raise EventStoreUnavailable("the event store did not answer in time") from error


def _named(refusal: RemoteError) -> Exception:
    """What a refusal means to us. One that means nothing is a bug, ours or the store's."""
    if refusal.reason in _LOST_RACES:
        # The first that does not hold is told, and a lattice's own stream stands first.
        of_catalogue = refusal.metadata.get("stream") == CATALOGUE_STREAM
        return (CatalogueChanged if of_catalogue else StreamChanged)(refusal.message)
    if refusal.code == grpc.StatusCode.UNAUTHENTICATED:
        # While keys are exchanged it may not know ours yet. Callers are told no such thing of
        # their own tokens.
        _log.error("the event store refuses our token", reason=refusal.reason)
        return EventStoreUnavailable("the event store does not know this service")
    if refusal.code in _AWAY:
        return EventStoreUnavailable(
            "the event store cannot be reached", retry_after_s=refusal.retry_after_s or 1.0
        )
    return RuntimeError(f"the event store refused a call: {refusal.code} {refusal.message}")
