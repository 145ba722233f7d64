"""What the contract's options cannot say of what is asked, beside what they say.

Names every bad field, and touches no storage.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from girih.ids import EventId
from services.events import domain, json_text
from services.events.domain import NewEvent, StreamState
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.plumbing.validation import MessageCheck

AnyAppendRequest = pb.AppendRequest | pb.AppendStreamRequest

STATES = {
    pb.Precondition.STATE_ABSENT: StreamState.ABSENT,
    pb.Precondition.STATE_EXISTS: StreamState.EXISTS,
}

HEARTBEAT_MIN = timedelta(seconds=1)
HEARTBEAT_MAX = timedelta(minutes=1)
_SECONDS_MAX = 10**9

QUERY_PARTS = tuple(field.name for field in pb.Query.DESCRIPTOR.fields)
_NO_PART = f"must have a part: one or more of {', '.join(QUERY_PARTS)}"


def check_counts(request: AnyAppendRequest, violations: Violations) -> None:
    """Their numbers alone: events and preconditions are looked at one by one."""
    validation.add_count_violations(request, "events", violations)
    validation.add_count_violations(request, "preconditions", violations)


def check_together(events: Sequence[NewEvent], violations: Violations) -> None:
    """What must hold of the events of an append beside each other: their size, no id twice."""
    if sum([event.byte_count for event in events]) > domain.APPEND_BYTES_MAX:
        violations.add("events", f"must be at most {domain.APPEND_BYTES_MAX:,} bytes together")
    if len({event.event_id for event in events}) == len(events):
        return
    first: dict[EventId, int] = {}
    for index, event in enumerate(events):
        if first.setdefault(event.event_id, index) != index:
            same = first[event.event_id]
            violations.add(f"events[{index}].id", f"must not be that of events[{same}]")


def event_rules() -> MessageCheck:
    """What the contract says of an event. Asked for once, since to find it takes time too."""
    return validation.check_of(pb.Event.DESCRIPTOR)


def check_event(
    event: pb.Event, text: str, index: int, rules: MessageCheck, violations: Violations
) -> None:
    """`text` is its JSON. Takes a microsecond, and as long as it takes to parse the JSON."""
    if not rules.holds(event):
        rules.examine(event, f"events[{index}].", violations)
    if text or event.HasField("json"):
        if event.content_type:
            violations.add(f"events[{index}].content_type", "must be empty beside json")
        if problem := json_text.problem(text):
            violations.add(f"events[{index}].json", problem)


def check_precondition(precondition: pb.Precondition, index: int, violations: Violations) -> None:
    """Add what is wrong with the precondition at `index` of its request."""
    rules = validation.check_of(pb.Precondition.DESCRIPTOR)
    if not rules.holds(precondition):
        rules.examine(precondition, f"preconditions[{index}].", violations)
    if precondition.HasField("no_match"):
        for number, query in enumerate(precondition.no_match.filter.queries):
            if not has_part(query):
                path = f"preconditions[{index}].no_match.filter.queries[{number}]"
                violations.add(path, _NO_PART)


def check_no_matches(preconditions: Iterable[pb.Precondition], violations: Violations) -> None:
    """Add what is wrong with how many there are, and with how many queries together."""
    no_matches = [one.no_match for one in preconditions if one.HasField("no_match")]
    query_count = sum(len(one.filter.queries) for one in no_matches)
    if len(no_matches) > domain.NO_MATCHES_MAX:
        words = f"must have no_match in at most {domain.NO_MATCHES_MAX}"
        violations.add("preconditions", words)
    elif query_count > domain.NO_MATCH_QUERIES_MAX:
        words = f"must have at most {domain.NO_MATCH_QUERIES_MAX} queries of no_match together"
        violations.add("preconditions", words)


def check_read(request: pb.ReadRequest, violations: Violations) -> None:
    """Add what is wrong with a request to read, its fields together included."""
    validation.add_violations(request, violations)
    if request.follow and request.direction == pb.DIRECTION_BACKWARDS:
        violations.add("follow", "must not be given when reading backwards")
    if request.follow and request.include_gone:
        violations.add("include_gone", "must not be given with follow")
    if request.HasField("filter") and request.stream:
        violations.add("filter", "must not be given with a stream")
    _check_start(request, violations)
    if request.HasField("heartbeat"):
        if not request.follow:
            violations.add("heartbeat", "must be given with follow")
        if not HEARTBEAT_MIN <= duration(request.heartbeat) <= HEARTBEAT_MAX:
            violations.add("heartbeat", "must be from 1 s to 60 s")


def _check_start(request: pb.ReadRequest, violations: Violations) -> None:
    has_position = request.HasField("from_position")
    has_revision = request.HasField("from_revision")
    if has_revision and not request.stream:
        violations.add("from_revision", "must be given with a stream")
    if has_revision and has_position:
        violations.add("from_revision", "must not be given beside from_position")
    if request.HasField("from_time"):
        check_time(request.from_time, "from_time", violations)
        if has_position or has_revision:
            violations.add("from_time", "must not be given beside another start")


def check_time(given: Timestamp, path: str, violations: Violations) -> None:
    try:
        given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        violations.add(path, "must be a time of the years 1 to 9999")


def duration(given: Duration) -> timedelta:
    """A negative one for what is too long for Python to say."""
    seconds = given.seconds if abs(given.seconds) < _SECONDS_MAX else -1
    return timedelta(seconds=seconds, microseconds=given.nanos // 1_000)


def check_filter(asked: pb.Filter, path: str, violations: Violations) -> None:
    """`path` is where it stands in its request."""
    rules = validation.check_of(pb.Filter.DESCRIPTOR)
    if not rules.holds(asked):
        rules.examine(asked, f"{path}.", violations)


def check_query(query: pb.Query, path: str, violations: Violations) -> None:
    """`path` is where it stands in its request, such as `filter.queries[0]`."""
    rules = validation.check_of(pb.Query.DESCRIPTOR)
    if not rules.holds(query):
        rules.examine(query, f"{path}.", violations)
    if not has_part(query):
        violations.add(path, _NO_PART)


def has_part(query: pb.Query) -> bool:
    """The one thing about a query that its rules do not say."""
    return bool(
        query.tags or query.types or query.stream_prefix or query.category or query.correlation_id
    )
