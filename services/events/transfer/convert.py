"""Carried records between the wire and what they are."""

import re
from collections.abc import Sequence
from datetime import UTC
from typing import Final

from girih.events.v1 import events_pb2 as events_pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1 import transfer_pb2 as pb
from girih.ids import NO_POSITION, RULES_STREAM, EventId, Position, Revision, StreamName
from services.events import json_text, record, rulings
from services.events.carried.records import CarriedRecord, DigestPage
from services.events.domain import RECORD_BYTES_MAX, CallContext, NewEvent, PlacedEvent
from services.events.errors import RecordDamaged
from services.events.rules.gone import without_payload
from services.events.rules.stream_rules import Gone, GoneReason
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.plumbing.wire import field

BATCH_BYTES_MAX: Final = 8 * 2**20

_DIGEST_BYTES: Final = 32
_ACTOR_CHARS_MAX: Final = 255
_CONTEXT: Final = events_pb.RecordedEvent.CONTEXT_FIELD_NUMBER
_is_correlation_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_is_causation_id = re.compile(r"[A-Za-z0-9._-]{0,64}").fullmatch


def digests_response(page: DigestPage) -> pb.ReadDigestsResponse:
    """Some microseconds an event."""
    response = pb.ReadDigestsResponse(incarnation=page.incarnation)
    for position, digest, payload_digest, header in page.rows:
        leaf = record.leaf_digest_of(record.without_payload(header), digest)
        response.events.add(
            position=position, digest=digest, leaf_digest=leaf, payload_digest=payload_digest
        )
    return response


def carried_records(request: pb.RestoreEventsRequest) -> Sequence[CarriedRecord]:
    """What is to be restored. Takes the payloads out of `request`, and 20 microseconds an event.

    Raises `InvalidInput` with every bad field, and `RecordDamaged`.
    """
    violations = Violations()
    validation.add_violations(request, violations)
    if request.ByteSize() > BATCH_BYTES_MAX:
        violations.add("events", f"must be at most {BATCH_BYTES_MAX:,} bytes together")
    violations.raise_if_any()
    for index, event in enumerate(request.events):
        position = request.after_position + 1 + index
        _check(event, position, f"events[{index}].recorded", violations)
        if violations.is_full:
            break
    violations.raise_if_any()
    return [_carried(event) for event in request.events]


def _check(event: pb.RestoredEvent, position: int, path: str, violations: Violations) -> None:
    """What the contract's options do not say."""
    recorded = event.recorded
    if recorded.position != position:
        violations.add(f"{path}.position", f"must be {position}, behind the one before it")
    if recorded.revision < 0:
        violations.add(f"{path}.revision", "must be 0 or more")
    if recorded.HasField("upcast"):
        violations.add(f"{path}.upcast", "must not be set: upcasted events are not stored so")
    if recorded.ByteSize() > RECORD_BYTES_MAX:
        violations.add(path, f"must be at most {RECORD_BYTES_MAX:,} bytes")
    if not event.recorded.event.id:
        violations.add(f"{path}.event.id", "must be given")
    _check_context(recorded.context, f"{path}.context", violations)
    _check_payload(event, path, violations)


def _check_context(context: events_pb.Context, path: str, violations: Violations) -> None:
    if not _is_correlation_id(context.correlation_id):
        violations.add(f"{path}.correlation_id", "must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if not _is_causation_id(context.causation_id):
        violations.add(f"{path}.causation_id", "must be 0 to 64 characters of A-Z a-z 0-9 . _ -")
    if len(context.actor) > _ACTOR_CHARS_MAX or not context.actor.isprintable():
        violations.add(f"{path}.actor", f"must be at most {_ACTOR_CHARS_MAX} printable characters")


def _check_payload(event: pb.RestoredEvent, path: str, violations: Violations) -> None:
    recorded = event.recorded
    has_payload = recorded.event.WhichOneof("payload") is not None
    if recorded.HasField("gone"):
        _check_gone(event, path, violations, has_payload=has_payload)
        return
    if event.payload_digest:
        violations.add(f"{path}.gone", "must be set beside a payload digest")
    if recorded.event.HasField("json"):
        if recorded.event.content_type:
            violations.add(f"{path}.event.content_type", "must be empty beside json")
        if problem := json_text.problem(recorded.event.json):
            violations.add(f"{path}.event.json", problem)


def _check_gone(
    event: pb.RestoredEvent, path: str, violations: Violations, *, has_payload: bool
) -> None:
    if has_payload:
        violations.add(f"{path}.event", "must have no payload when it is gone")
    if len(event.payload_digest) != _DIGEST_BYTES:
        violations.add(f"{path}.gone", f"must have a payload digest of {_DIGEST_BYTES} bytes")
    if int(event.recorded.gone.reason) not in {reason.value for reason in GoneReason}:
        violations.add(f"{path}.gone.reason", "must be a reason that the contract names")
    if event.recorded.gone.position <= 0:
        violations.add(f"{path}.gone.position", "must be 1 or more")


def _carried(event: pb.RestoredEvent) -> CarriedRecord:
    recorded = event.recorded
    message, json = recorded.event, recorded.event.json
    is_gone = recorded.HasField("gone")
    change = None
    if message.stream == RULES_STREAM and not is_gone:
        change = rulings.change_of(message, recorded.context.actor)
    byte_count = message.ByteSize()
    header, payload, digest = record.pieces(message, json)
    if is_gone:
        digest = record.event_digest(header, event.payload_digest)
    if digest != event.digest:
        raise RecordDamaged(Position(recorded.position))
    stream, event_id = StreamName(message.stream), EventId(message.id)
    new = NewEvent(
        event_id, stream, message.type, tuple(message.tags), digest, header, payload, byte_count
    )
    recorded_at = recorded.recorded_at.ToDatetime(tzinfo=UTC)
    correlation_id = recorded.context.correlation_id
    context = CallContext(correlation_id, field(_CONTEXT, recorded.context.SerializeToString()))
    revision = Revision(recorded.revision)
    placed = PlacedEvent(new, Position(recorded.position), NO_POSITION, revision, context)
    stored = record.encoder_at(recorded_at)(placed)
    return CarriedRecord(
        stream=stream,
        revision=revision,
        recorded_at=recorded_at,
        event_id=event_id,
        type=message.type,
        correlation_id=correlation_id,
        digest=digest,
        tags=new.tags,
        header=without_payload(stored, _gone(recorded.gone)) if is_gone else stored,
        payload=None if is_gone else payload,
        payload_digest=event.payload_digest if is_gone else None,
        change=change,
    )


def _gone(message: keeping_pb.Gone) -> Gone:
    at = message.at.ToDatetime(tzinfo=UTC)
    return Gone(GoneReason(message.reason), at, message.actor, Position(message.position))
