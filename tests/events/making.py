"""Short ways to make what is appended."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessages

from girih.events.v1 import events_pb2 as pb
from girih.ids import EventId, Position, Revision, StreamName
from services.events import record
from services.events.domain import (
    CallContext,
    NewEvent,
    NoMatch,
    PlacedEvent,
    Precondition,
    Proposal,
    StreamState,
)
from services.events.matching.queries import Filter, Query
from services.events.store import RecordBatch

ABSENT = StreamState.ABSENT
EXISTS = StreamState.EXISTS
NOW = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


def event_id(number: int) -> EventId:
    return EventId(str(UUID(int=number)))


def new_event(
    stream: str = "s",
    *,
    content: str = "",
    with_id: str = "",
    event_type: str = "happened",
    tags: Sequence[str] = (),
) -> NewEvent:
    """An event as the domain sees it, valid for the store as well."""
    with_id = with_id or str(uuid4())
    message = pb.Event(id=with_id, stream=stream, type=event_type, json=f'"{content}"', tags=tags)
    header, payload, digest = record.pieces(message, message.json)
    return NewEvent(
        EventId(with_id),
        StreamName(stream),
        event_type,
        tuple(tags),
        digest,
        header,
        payload,
        len(header) + len(payload),
    )


def placed_event(event: NewEvent, position: int, revision: int, first: int = 0) -> PlacedEvent:
    """`event` at its place, in a stream that begins at position `first`, or else here."""
    return PlacedEvent(
        event,
        Position(position),
        Position(first or position),
        Revision(revision),
        CallContext("c-1", b""),
    )


def record_batch(placed: Iterable[PlacedEvent], records: Sequence[bytes]) -> RecordBatch:
    """A batch whose records read as those of `records`, half of which are header."""
    pieces = [(one[: len(one) // 2], one[len(one) // 2 :]) for one in records]
    return RecordBatch(
        NOW,
        [
            one._replace(event=one.event._replace(payload=payload))
            for one, (_, payload) in zip(placed, pieces, strict=True)
        ],
        [header for header, _ in pieces],
    )


def proposal(*events: NewEvent, expecting: dict[str, int | StreamState] | None = None) -> Proposal:
    preconditions = [
        Precondition(StreamName(stream), one if isinstance(one, StreamState) else Revision(one))
        for stream, one in (expecting or {}).items()
    ]
    return Proposal(events, preconditions)


def no_match(*tags: str, types: Sequence[str] = (), after: int | None = None) -> NoMatch:
    """No event with all of these tags, and of one of these types, lies behind a position."""
    query = Query(types=frozenset(types), tags=frozenset(tags))
    return NoMatch(Filter((query,)), None if after is None else Position(after))


def append_of(*streams: str) -> pb.AppendRequest:
    """A request with one event per stream named, each with an id."""
    return pb.AppendRequest(events=[message(stream) for stream in streams])


def message(stream: str = "s", json: str = "{}") -> pb.Event:
    return pb.Event(id=str(uuid4()), stream=stream, type="happened", json=json)


def parsed(records: Iterable[bytes]) -> list[pb.RecordedEvent]:
    return [pb.RecordedEvent.FromString(record) for record in records]


def records_in(fields: Sequence[bytes]) -> list[bytes]:
    """The records of a page, taken apart again."""
    return list(_RECORDS.FromString(b"".join(fields)).value)


def _records() -> type[Any]:
    """A message whose first field is many bytes, whatever they are."""
    file = FileDescriptorProto(name="records.proto", package="test")
    repeated = FieldDescriptorProto.LABEL_REPEATED
    file.message_type.add(name="Records").field.add(
        name="value", number=1, type=FieldDescriptorProto.TYPE_BYTES, label=repeated
    )
    return GetMessages([file])["test.Records"]


_RECORDS = _records()
