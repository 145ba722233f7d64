"""Short ways to make what is appended."""

import hashlib
from collections.abc import Iterable
from uuid import UUID, uuid4

from girih.events.v1 import events_pb2 as pb
from services.events.domain import NewEvent, Precondition, Proposal, StreamState

ABSENT = StreamState.ABSENT
EXISTS = StreamState.EXISTS


def event_id(number: int) -> str:
    return str(UUID(int=number))


def new_event(stream: str = "s", *, content: str = "", with_id: str = "") -> NewEvent:
    """An event as the domain sees it, valid for the store as well."""
    with_id = with_id or str(uuid4())
    message = pb.Event(id=with_id, stream=stream, type="happened", json=f'"{content}"')
    data = message.SerializeToString(deterministic=True)
    return NewEvent(with_id, stream, hashlib.sha256(data).digest(), data)


def proposal(*events: NewEvent, expecting: dict[str, int | StreamState] | None = None) -> Proposal:
    preconditions = [Precondition(stream, state) for stream, state in (expecting or {}).items()]
    return Proposal(events, preconditions)


def append_of(*streams: str) -> pb.AppendRequest:
    """A request with one event per stream named, each with an id."""
    return pb.AppendRequest(events=[message(stream) for stream in streams])


def message(stream: str = "s", json: str = "{}") -> pb.Event:
    return pb.Event(id=str(uuid4()), stream=stream, type="happened", json=json)


def parsed(records: Iterable[bytes]) -> list[pb.RecordedEvent]:
    return [pb.RecordedEvent.FromString(record) for record in records]
