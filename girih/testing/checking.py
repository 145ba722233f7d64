"""What is wrong with a request of the event store, its fields together included. Knows no log."""

from google.protobuf.message import Message

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1 import snapshots_pb2
from girih.ids import new_event_id
from girih.rules import requests
from girih.rules.checking import add_violations
from girih.rules.requests import EVENT_BYTES_MAX, AnyAppendRequest
from girih.rules.violations import Violations
from girih.testing import json_text
from girih.testing.log import streams_metadata
from girih.testing.refusals import Refused, refuse_if_any

_RESERVED = "$"


def checked_append(request: AnyAppendRequest) -> AnyAppendRequest:
    """Refuse what is wrong with it; the same with ids where it has none."""
    violations = Violations()
    requests.check_counts(request, violations)
    refuse_if_any(violations)
    requests.check_no_matches(request.preconditions, violations)
    refuse_if_any(violations)
    for index, precondition in enumerate(request.preconditions):
        requests.check_precondition(precondition, index, violations)
    for index, event in enumerate(request.events):
        if violations.is_full:
            break
        event.id = event.id or new_event_id()
        _check_event(event, index, violations)
    byte_count = sum(event.ByteSize() for event in request.events)
    if not violations.is_full:
        ids = [event.id for event in request.events]
        requests.check_together(ids, byte_count, violations)
    refuse_if_any(violations)
    check_owned([event.stream for event in request.events])
    return request


def _check_event(event: pb.Event, index: int, violations: Violations) -> None:
    path = f"events[{index}]"
    inner = Violations()
    add_violations(event, inner)
    for one in inner:
        violations.add(f"{path}.{one.field}", one.description)
    if event.HasField("json"):
        if event.content_type:
            violations.add(f"{path}.content_type", "must be empty beside json")
        if problem := json_text.problem(event.json):
            violations.add(f"{path}.json", problem)
    if event.ByteSize() > EVENT_BYTES_MAX:
        violations.add(path, f"must be at most {EVENT_BYTES_MAX:,} bytes")


def check_owned(names: list[str]) -> None:
    """Refuse what is appended to, or ruled over, streams that are girih's own."""
    if owned := sorted({name for name in names if name.startswith(_RESERVED)}):
        message = (
            f"streams of a service, which alone appends to them: {len(owned)};"
            f" the first: {owned[0]}"
        )
        raise Refused("STREAM_OWNED", message, streams_metadata(owned))


def check_read(request: pb.ReadRequest) -> None:
    violations = Violations()
    requests.check_read(request, violations)
    refuse_if_any(violations)


def check_position(request: pb.GetPositionRequest) -> None:
    violations = _violations_of(request)
    requests.check_time(request.time, "time", violations)
    refuse_if_any(violations)


def check_metadata(request: keeping_pb.SetStreamMetadataRequest) -> None:
    violations = _violations_of(request)
    text = request.metadata
    if not violations and (problem := json_text.problem(text)):
        violations.add("metadata", problem)
    refuse_if_any(violations)


def check_snapshot(request: snapshots_pb2.SaveSnapshotRequest) -> None:
    violations = _violations_of(request)
    name = request.WhichOneof("state") or "binary"
    content = request.json.encode() if name == "json" else request.binary
    if len(content) > EVENT_BYTES_MAX:
        violations.add(name, f"must be at most {EVENT_BYTES_MAX:,} bytes")
    elif name == "json":
        if request.content_type:
            violations.add("content_type", "must be empty beside json")
        if problem := json_text.problem(request.json):
            violations.add("json", problem)
    refuse_if_any(violations)


def _violations_of(request: Message) -> Violations:
    violations = Violations()
    add_violations(request, violations)
    return violations
