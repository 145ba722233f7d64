"""Between the wire and what is ruled over streams, one request at a time.

Each becomes the event of `$streams` that will say it: its JSON names the stream and what was asked.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.ids import EventId, Position, Revision, StreamName
from girih.rules import rulings
from services.events import json_text, record
from services.events.domain import NewEvent, page_size
from services.events.keeping.keeper import Ruling
from services.events.rules.stream_rules import (
    NO_RETENTION,
    RedactionTarget,
    Retention,
    StreamChange,
    StreamEnding,
)
from services.events.store import TalliesRequest, TallyKind, TallyPage
from services.plumbing import validation
from services.plumbing.correlation import Call
from services.plumbing.errors import InvalidInput, Violations

_ENDINGS: Final = {
    StreamEnding.DELETED: keeping_pb.STREAM_ENDING_DELETED,
    StreamEnding.TOMBSTONED: keeping_pb.STREAM_ENDING_TOMBSTONED,
}


def metadata_ruling(request: keeping_pb.SetStreamMetadataRequest, call: Call) -> Ruling:
    """Raises `InvalidInput` with every bad field."""
    violations = Violations()
    validation.add_violations(request, violations)
    text = request.metadata
    if not violations and (problem := json_text.problem(text)):
        violations.add("metadata", problem)
    violations.raise_if_any()
    change = StreamChange(StreamName(request.stream), _actor(call), metadata=text)
    return Ruling(
        change,
        _to_append(rulings.metadata_event(request)),
        record.call_context(call),
        expected_version=request.expected_version if request.HasField("expected_version") else None,
    )


def retention_ruling(request: keeping_pb.SetStreamRetentionRequest, call: Call) -> Ruling:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    asked = request.retention
    retention = Retention(
        max_age_s=asked.max_age_s if asked.HasField("max_age_s") else None,
        max_count=asked.max_count if asked.HasField("max_count") else None,
        truncate_before=(
            Revision(asked.truncate_before) if asked.HasField("truncate_before") else None
        ),
    )
    change = StreamChange(StreamName(request.stream), _actor(call), retention=retention)
    event = _to_append(rulings.retention_event(request))
    return Ruling(change, event, record.call_context(call))


def ending_ruling(request: rulings.AnyEndingRequest, call: Call) -> Ruling:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    is_tombstone = isinstance(request, keeping_pb.TombstoneStreamRequest)
    ending = StreamEnding.TOMBSTONED if is_tombstone else StreamEnding.DELETED
    expected = None
    if request.HasField("expected_revision"):
        expected = Revision(request.expected_revision)
    return Ruling(
        StreamChange(StreamName(request.stream), _actor(call), ending=ending),
        _to_append(rulings.ending_event(request)),
        record.call_context(call),
        expected_revision=expected,
    )


def change_of(event: pb.Event, actor: str) -> StreamChange | None:
    """What an event of `$streams` changes, as its maker said; None for one of another kind.

    Raises `InvalidInput` for one that nobody here can have written.
    """
    read = _CHANGES.get(event.type)
    if read is None:
        return None
    try:
        payload = json.loads(event.json)
        return read(StreamName(str(payload["stream"])), actor, payload, event.json)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput.of("events", f"holds a rule that is none, {event.id}") from error


def _metadata_change(
    stream: StreamName, actor: str, _payload: Mapping[str, Any], text: str
) -> StreamChange:
    before = f'{{"stream":{json.dumps(stream)},"metadata":'
    if not text.startswith(before):
        raise ValueError(text)
    # As its maker wrote it, in which numbers may have more digits than a float.
    return StreamChange(stream, actor, metadata=text[len(before) : -1])


def _retention_change(
    stream: StreamName, actor: str, payload: Mapping[str, Any], _text: str
) -> StreamChange:
    age_s, count_max, before = (
        int(payload[name]) if name in payload else None
        for name in ("maxAgeS", "maxCount", "truncateBefore")
    )
    retention = Retention(age_s, count_max, None if before is None else Revision(before))
    return StreamChange(stream, actor, retention=retention)


def _redaction(
    stream: StreamName, actor: str, payload: Mapping[str, Any], _text: str
) -> StreamChange:
    return StreamChange(stream, actor, redacted=Position(int(payload["position"])))


def _deletion(
    stream: StreamName, actor: str, _payload: Mapping[str, Any], _text: str
) -> StreamChange:
    return StreamChange(stream, actor, ending=StreamEnding.DELETED)


def _tombstone(
    stream: StreamName, actor: str, _payload: Mapping[str, Any], _text: str
) -> StreamChange:
    return StreamChange(stream, actor, ending=StreamEnding.TOMBSTONED)


_CHANGES: Final[Mapping[str, Callable[[StreamName, str, Mapping[str, Any], str], StreamChange]]] = {
    "metadata-set": _metadata_change,
    "retention-set": _retention_change,
    "redacted": _redaction,
    "deleted": _deletion,
    "tombstoned": _tombstone,
}


def redacted_position(request: keeping_pb.RedactEventRequest) -> Position:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    return Position(request.position)


def redaction_ruling(
    request: keeping_pb.RedactEventRequest, target: RedactionTarget, call: Call
) -> Ruling:
    event = rulings.redaction_event(request, stream=target.stream, event_id=target.event_id)
    position = Position(request.position)
    return Ruling(
        StreamChange(target.stream, _actor(call), redacted=position),
        _to_append(event),
        record.call_context(call),
    )


def tallies_request(
    request: keeping_pb.ListCategoriesRequest | keeping_pb.ListEventTypesRequest,
) -> TalliesRequest:
    """The page asked for, and one more. Raises `InvalidInput`."""
    validation.check(request)
    is_of_types = isinstance(request, keeping_pb.ListEventTypesRequest)
    return TalliesRequest(
        TallyKind.TYPE if is_of_types else TallyKind.CATEGORY,
        request.page_token,
        page_size(request.page_size) + 1,
    )


def categories_response(page: TallyPage, count_max: int) -> keeping_pb.ListCategoriesResponse:
    return keeping_pb.ListCategoriesResponse(
        categories=[
            keeping_pb.Category(
                category=one.name, stream_count=one.stream_count, event_count=one.event_count
            )
            for one in page.rows[: count_max - 1]
        ],
        next_page_token=_next_token(page, count_max),
        counted_position=page.counted,
    )


def types_response(page: TallyPage, count_max: int) -> keeping_pb.ListEventTypesResponse:
    return keeping_pb.ListEventTypesResponse(
        types=[
            keeping_pb.EventType(type=one.name, event_count=one.event_count)
            for one in page.rows[: count_max - 1]
        ],
        next_page_token=_next_token(page, count_max),
        counted_position=page.counted,
    )


def _next_token(page: TallyPage, count_max: int) -> str:
    return page.rows[-2].name if len(page.rows) == count_max else ""


def retention_message(retention: Retention) -> keeping_pb.Retention | None:
    """None when all events are kept."""
    if retention == NO_RETENTION:
        return None
    return keeping_pb.Retention(
        max_age_s=retention.max_age_s,
        max_count=retention.max_count,
        truncate_before=retention.truncate_before,
    )


def ending_value(ending: StreamEnding | None) -> keeping_pb.StreamEnding:
    return keeping_pb.STREAM_ENDING_UNSPECIFIED if ending is None else _ENDINGS[ending]


def _to_append(message: pb.Event) -> NewEvent:
    """An event of `$streams` as it will be stored, its payload taken out of it."""
    byte_count, json = message.ByteSize(), message.json
    header, payload, digest = record.pieces(message, json)
    return NewEvent(
        EventId(message.id),
        StreamName(message.stream),
        message.type,
        tuple(message.tags),
        digest,
        header,
        payload,
        byte_count,
    )


def _actor(call: Call) -> str:
    return call.principal.subject if call.principal else ""
