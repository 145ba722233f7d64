"""Between the wire and the domain. Names every bad field, and touches no storage."""

import asyncio
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from services.events import domain, json_text
from services.events.appending.committer import Encode
from services.events.domain import NewEvent, PlacedEvent, Placement, Precondition, StreamState
from services.events.errors import PreconditionFailed
from services.events.reading.reader import Span
from services.events.store import DatabaseStatus, StreamEnds
from services.plumbing.correlation import Call
from services.plumbing.errors import ServiceError, Violations
from services.plumbing.grpc import errors as grpc_errors

AnyAppendRequest = pb.AppendRequest | pb.AppendStreamRequest

Found = list[tuple[str, str]]
"""Bad fields of a message, and what is wrong with them."""

# In characters of JSON, of which an event's other fields take as long as some.
_WORK_AT_A_TIME = 2**16
_WORK_OF_AN_EVENT = 300
_DETAILS_BYTES_MAX = 2_500

_STATES = {
    pb.Precondition.STATE_ABSENT: StreamState.ABSENT,
    pb.Precondition.STATE_EXISTS: StreamState.EXISTS,
}

_NOT_A_STREAM = (
    "must be 1 to 255 characters of A-Z a-z 0-9 _ . : @ -, the first a letter, a digit or _"
)
_NOT_AN_ID = "must be a UUID as lower-case text with hyphens, or empty"


# Appends


async def proposal(request: AnyAppendRequest, call: Call) -> domain.Proposal:
    """What `request` asks to append, with ids where it has none.

    Raises `InvalidInput` with every bad field. Lets other calls run between the events of
    a large request: each takes about 5 microseconds. JSON of some size is checked in a
    thread: the worst 4 MiB of it take half a second.
    """
    violations = Violations()
    _check_counts(request, violations)
    violations.raise_if_any()
    preconditions = [
        _precondition(precondition, index, violations)
        for index, precondition in enumerate(request.preconditions)
    ]
    events: list[NewEvent] = []
    work = 0
    for index, event in enumerate(request.events):
        if len(event.json) > _WORK_AT_A_TIME:
            events.append(await asyncio.to_thread(_new_event, event, index, violations))
            continue
        events.append(_new_event(event, index, violations))
        work += _WORK_OF_AN_EVENT + len(event.json)
        if work > _WORK_AT_A_TIME:
            work = 0
            await asyncio.sleep(0)
    _check_together(events, violations)
    violations.raise_if_any()
    return domain.Proposal(events, preconditions, _context_field(call))


def append_response(placements: Sequence[Placement]) -> pb.AppendResponse:
    """The placements in the order of the request."""
    response = pb.AppendResponse()
    _add_placements(response, placements)
    return response


def append_stream_response(placements: Sequence[Placement]) -> pb.AppendStreamResponse:
    """The placements in the order of the request."""
    response = pb.AppendStreamResponse()
    _add_placements(response, placements)
    return response


def append_stream_refusal(error: ServiceError, service_domain: str) -> pb.AppendStreamResponse:
    """What `Append` would have ended with."""
    refusal = grpc_errors.to_proto(error, service_domain, details_of(error))
    return pb.AppendStreamResponse(refusal=refusal)


def _add_placements(
    response: pb.AppendResponse | pb.AppendStreamResponse, placements: Sequence[Placement]
) -> None:
    add = response.placements.add
    for event_id, position, revision, already_stored in placements:
        add(
            position=position,
            revision=revision,
            already_stored=already_stored,
            event_id=event_id,
        )


def details_of(error: ServiceError) -> Sequence[Message]:
    """The typed details of an error, beside those that every service gives.

    As many violations as fit: statuses travel in trailers, which peers bound. The error's
    metadata tells how many there are.
    """
    if not isinstance(error, PreconditionFailed):
        return ()
    failure = pb.PreconditionFailure()
    for violation in error.violations:
        failure.violations.add(
            index=violation.index,
            stream=violation.stream,
            actual_revision=violation.actual_revision,
        )
        if failure.ByteSize() > _DETAILS_BYTES_MAX:
            del failure.violations[-1]
            break
    return (failure,)


def _check_counts(request: AnyAppendRequest, violations: Violations) -> None:
    if not 1 <= len(request.events) <= domain.EVENTS_MAX:
        violations.add("events", f"must be 1 to {domain.EVENTS_MAX} events")
    if len(request.preconditions) > domain.PRECONDITIONS_MAX:
        violations.add("preconditions", f"must be at most {domain.PRECONDITIONS_MAX}")


def _new_event(event: pb.Event, index: int, violations: Violations) -> NewEvent:
    """`event` as it will be stored; of no use when a violation was found."""
    found: Found = []
    _check_event(event, found)
    event_id = event.id
    if not event_id:
        event_id = event.id = _new_id()
    # In a fixed order of map keys, so that the same event always has the same digest.
    content = event.SerializeToString(deterministic=True)
    if found:
        _add(violations, f"events[{index}].", found)
    if len(content) > domain.EVENT_BYTES_MAX:
        violations.add(f"events[{index}]", f"must be at most {domain.EVENT_BYTES_MAX} bytes")
    return NewEvent(event_id, event.stream, sha256(content).digest(), content)


def _add(violations: Violations, prefix: str, found: Found) -> None:
    for field, description in found:
        violations.add(prefix + field, description)


def _check_together(events: Sequence[NewEvent], violations: Violations) -> None:
    if sum([len(event.content) for event in events]) > domain.APPEND_BYTES_MAX:
        violations.add("events", f"must be at most {domain.APPEND_BYTES_MAX} bytes together")
    if len({event.event_id for event in events}) == len(events):
        return
    first: dict[str, int] = {}
    for index, event in enumerate(events):
        if first.setdefault(event.event_id, index) != index:
            violations.add(
                f"events[{index}].id", f"is the same as events[{first[event.event_id]}].id"
            )


def _check_event(event: pb.Event, found: Found) -> None:
    event_id, event_type = event.id, event.type
    if event_id and not domain.is_event_id(event_id):
        found.append(("id", _NOT_AN_ID))
    if not domain.is_stream_name(event.stream):
        found.append(("stream", _NOT_A_STREAM))
    if not event_type or not domain.is_line(event_type, domain.TYPE_CHARS_MAX):
        found.append(("type", _not_a_line(domain.TYPE_CHARS_MAX, 1)))
    if event.schema_version < 0:
        found.append(("schema_version", "must be 0 or more"))
    if event.HasField("json"):
        _check_json(event, found)
    elif not domain.is_line(event.content_type, domain.CONTENT_TYPE_CHARS_MAX):
        found.append(("content_type", _not_a_line(domain.CONTENT_TYPE_CHARS_MAX)))
    if event.metadata:
        _check_metadata(event, found)
    if event.tags:
        _check_tags(event, found)


def _check_json(event: pb.Event, found: Found) -> None:
    if event.content_type:
        found.append(("content_type", "must be empty beside json"))
    if problem := json_text.problem(event.json):
        found.append(("json", problem))


def _check_metadata(event: pb.Event, found: Found) -> None:
    if len(event.metadata) > domain.METADATA_KEYS_MAX:
        found.append(("metadata", f"must have at most {domain.METADATA_KEYS_MAX} keys"))
        return
    for key, value in event.metadata.items():
        if not key or not domain.is_line(key, domain.METADATA_KEY_CHARS_MAX):
            bad_key = f"each key {_not_a_line(domain.METADATA_KEY_CHARS_MAX, 1)}"
            found.append(("metadata", bad_key))
        elif not domain.is_line(value, domain.METADATA_VALUE_CHARS_MAX):
            found.append((f"metadata[{key}]", _not_a_line(domain.METADATA_VALUE_CHARS_MAX)))


def _check_tags(event: pb.Event, found: Found) -> None:
    if len(event.tags) > domain.TAGS_MAX:
        found.append(("tags", f"must be at most {domain.TAGS_MAX}"))
        return
    seen = set[str]()
    for index, tag in enumerate(event.tags):
        if not tag or not domain.is_line(tag, domain.TAG_CHARS_MAX):
            found.append((f"tags[{index}]", _not_a_line(domain.TAG_CHARS_MAX, 1)))
        if tag in seen:
            found.append((f"tags[{index}]", "is given twice"))
        seen.add(tag)


def _not_a_line(chars_max: int, chars_min: int = 0) -> str:
    return f"must be {chars_min} to {chars_max} characters, none a control character"


def _precondition(
    precondition: pb.Precondition, index: int, violations: Violations
) -> Precondition:
    """`precondition` in the domain's words; of no use when a violation was found."""
    found: Found = []
    _check_precondition(precondition, found)
    _add(violations, f"preconditions[{index}].", found)
    if precondition.HasField("revision"):
        return Precondition(precondition.stream, precondition.revision)
    state = _STATES.get(precondition.state, StreamState.EXISTS)
    return Precondition(precondition.stream, state)


def _check_precondition(precondition: pb.Precondition, found: Found) -> None:
    if not domain.is_stream_name(precondition.stream):
        found.append(("stream", _NOT_A_STREAM))
    expected = precondition.WhichOneof("expected")
    if expected is None:
        found.append(("expected", "must be given, as revision or state"))
    elif expected == "revision" and precondition.revision < 0:
        found.append(("revision", "must be 0 or more"))
    elif expected == "state" and precondition.state not in _STATES:
        found.append(("state", "must be STATE_ABSENT or STATE_EXISTS"))


def _new_id() -> str:
    """A UUID of version 7: milliseconds first, so that ids made later sort later."""
    number = int.from_bytes(
        (time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big"
    )
    number = number & ~(0xF << 76) | 0x7 << 76
    text = f"{number & ~(0x3 << 62) | 0x2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# Records
#
# A `RecordedEvent` is put together from the bytes of its fields, so that an event is
# serialized once in its life. Every field below is written with its tag and length.


def encoder_at(time_ns: int) -> Encode:
    """Makes records, as serialized `RecordedEvent`s, of events placed at `time_ns`."""
    recorded_at = Timestamp()
    recorded_at.FromNanoseconds(time_ns)
    recorded_at_field = pb.RecordedEvent(recorded_at=recorded_at).SerializeToString()

    def encode(placed: PlacedEvent) -> bytes:
        event, position, revision, context_field = placed
        return b"".join(
            (
                b"\x08",
                _varint(position),
                _revision_field(revision),
                recorded_at_field,
                context_field,
                b"\x2a",
                _varint(len(event.content)),
                event.content,
            )
        )

    return encode


def _context_field(call: Call) -> bytes:
    context = pb.Context(
        correlation_id=call.correlation_id,
        causation_id=call.causation_id,
        actor=call.principal.subject if call.principal else "",
    )
    return pb.RecordedEvent(context=context).SerializeToString()


@lru_cache(maxsize=4_096)
def _revision_field(revision: int) -> bytes:
    return b"\x10" + _varint(revision) if revision else b""


def _varint(number: int) -> bytes:
    """`number`, 0 or more, seven bits to the byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# Reads


def span(request: pb.ReadRequest) -> Span:
    """What `request` asks to read. Raises `InvalidInput` with every bad field."""
    found: Found = []
    _check_read(request, found)
    violations = Violations()
    _add(violations, "", found)
    violations.raise_if_any()
    return Span(
        stream=request.stream,
        is_backwards=request.direction == pb.DIRECTION_BACKWARDS,
        from_position=request.from_position if request.HasField("from_position") else None,
        from_revision=request.from_revision if request.HasField("from_revision") else None,
        limit=request.limit or None,
        is_followed=request.follow,
    )


def read_response(records: Sequence[bytes]) -> bytes:
    """A serialized `ReadResponse` of `records`, which are not looked into."""
    pieces: list[bytes] = []
    for record in records:
        pieces += (_events_tag(len(record)), record)
    return b"".join(pieces)


def stream_name(request: pb.GetStreamRequest) -> str:
    """The stream asked about. Raises `InvalidInput`."""
    violations = Violations()
    if not domain.is_stream_name(request.stream):
        violations.add("stream", _NOT_A_STREAM)
    violations.raise_if_any()
    return request.stream


def stream_response(stream: str, ends: StreamEnds) -> pb.GetStreamResponse:
    """A stream as its first and last record tell."""
    return pb.GetStreamResponse(
        stream=stream,
        last_revision=ends.last_revision,
        first_position=ends.first_position,
        last_position=ends.last_position,
        created_at=pb.RecordedEvent.FromString(ends.first_record).recorded_at,
        updated_at=pb.RecordedEvent.FromString(ends.last_record).recorded_at,
    )


def database_response(status: DatabaseStatus) -> pb.GetDatabaseStatusResponse:
    """The database and the pool, as they are now."""
    return pb.GetDatabaseStatusResponse(
        reachable=status.latency_ms is not None,
        latency_ms=status.latency_ms or 0.0,
        server_version=status.server_version,
        pool_size=status.pool_size,
        pool_idle=status.pool_idle,
        pool_waiting=status.pool_waiting,
        pool_size_min=status.pool_size_min,
        pool_size_max=status.pool_size_max,
    )


def _check_read(request: pb.ReadRequest, found: Found) -> None:
    if request.stream and not domain.is_stream_name(request.stream):
        found.append(("stream", _NOT_A_STREAM))
    if request.direction not in pb.Direction.values():
        found.append(("direction", "must be a direction that the contract names"))
    if request.follow and request.direction == pb.DIRECTION_BACKWARDS:
        found.append(("follow", "must not be given when reading backwards"))
    if request.HasField("from_position") and request.from_position < 1:
        found.append(("from_position", "must be 1 or more"))
    if request.HasField("from_revision"):
        _check_from_revision(request, found)
    if request.limit < 0:
        found.append(("limit", "must be 0 or more"))


def _check_from_revision(request: pb.ReadRequest, found: Found) -> None:
    if request.from_revision < 0:
        found.append(("from_revision", "must be 0 or more"))
    if not request.stream:
        found.append(("from_revision", "needs a stream"))
    if request.HasField("from_position"):
        found.append(("from_revision", "must not be given beside from_position"))


@lru_cache(maxsize=16_384)
def _events_tag(byte_count: int) -> bytes:
    return b"\x0a" + _varint(byte_count)
