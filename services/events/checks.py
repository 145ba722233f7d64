"""The checks of what is asked: names every bad field, and touches no storage."""

from collections.abc import Sequence

from girih.events.v1 import events_pb2 as pb
from services.events import domain, json_text
from services.events.domain import NewEvent, StreamState
from services.plumbing.errors import Violations

AnyAppendRequest = pb.AppendRequest | pb.AppendStreamRequest

Found = list[tuple[str, str]]
"""Bad fields of a message, and what is wrong with them."""

STATES = {
    pb.Precondition.STATE_ABSENT: StreamState.ABSENT,
    pb.Precondition.STATE_EXISTS: StreamState.EXISTS,
}

NOT_A_STREAM = (
    "must be 1 to 255 characters of A-Z a-z 0-9 _ . : @ -, the first a letter, a digit or _"
)
_NOT_AN_ID = "must be a UUID as lower-case text with hyphens, or empty"


def check_counts(request: AnyAppendRequest, violations: Violations) -> None:
    if not 1 <= len(request.events) <= domain.EVENTS_MAX:
        violations.add("events", f"must be 1 to {domain.EVENTS_MAX} events")
    if len(request.preconditions) > domain.PRECONDITIONS_MAX:
        violations.add("preconditions", f"must be at most {domain.PRECONDITIONS_MAX}")


def check_together(events: Sequence[NewEvent], violations: Violations) -> None:
    if sum([event.byte_count for event in events]) > domain.APPEND_BYTES_MAX:
        violations.add("events", f"must be at most {domain.APPEND_BYTES_MAX} bytes together")
    if len({event.event_id for event in events}) == len(events):
        return
    first: dict[str, int] = {}
    for index, event in enumerate(events):
        if first.setdefault(event.event_id, index) != index:
            violations.add(
                f"events[{index}].id", f"is the same as events[{first[event.event_id]}].id"
            )


def check_event(event: pb.Event, found: Found) -> None:
    event_id, event_type = event.id, event.type
    if event_id and not domain.is_event_id(event_id):
        found.append(("id", _NOT_AN_ID))
    if not domain.is_stream_name(event.stream):
        found.append(("stream", NOT_A_STREAM))
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


def check_precondition(precondition: pb.Precondition, found: Found) -> None:
    if not domain.is_stream_name(precondition.stream):
        found.append(("stream", NOT_A_STREAM))
    expected = precondition.WhichOneof("expected")
    if expected is None:
        found.append(("expected", "must be given, as revision or state"))
    elif expected == "revision" and precondition.revision < 0:
        found.append(("revision", "must be 0 or more"))
    elif expected == "state" and precondition.state not in STATES:
        found.append(("state", "must be STATE_ABSENT or STATE_EXISTS"))


def check_read(request: pb.ReadRequest, found: Found) -> None:
    if request.stream and not domain.is_stream_name(request.stream):
        found.append(("stream", NOT_A_STREAM))
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


def add(violations: Violations, prefix: str, found: Found) -> None:
    for field, description in found:
        violations.add(prefix + field, description)


def _not_a_line(chars_max: int, chars_min: int = 0) -> str:
    return f"must be {chars_min} to {chars_max} characters, none a control character"
