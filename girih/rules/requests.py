"""What must hold of the fields of a request together, beside what the contract's options say.

Messages in, violations out: what the event store refuses, wherever it keeps its events.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import groups_pb2
from girih.rules import checking
from girih.rules.violations import Violations

AnyAppendRequest = pb.AppendRequest | pb.AppendStreamRequest

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024 - 1024
"""What every client of gRPC takes at once, less what a record has around its event."""
APPEND_BYTES_MAX: Final = 8 * 1024 * 1024

NO_MATCHES_MAX: Final = 16
NO_MATCH_QUERIES_MAX: Final = 32
"""Together in an append. To look for what a query means among recent events takes some
microseconds, and a millisecond at worst."""

HEARTBEAT_MIN: Final = timedelta(seconds=1)
HEARTBEAT_MAX: Final = timedelta(minutes=1)
_SECONDS_MAX: Final = 10**9
_NANOS_MAX: Final = 10**9 - 1


def named_position(request: groups_pb2.ConsumeRequest) -> int:
    """Of which one event a consumer says something; 0 for none, and for several."""
    match request.WhichOneof("request"):
        case "retry_later":
            return request.retry_later.position
        case "park":
            return request.park.position
    return 0


def check_counts(request: AnyAppendRequest, violations: Violations) -> None:
    """Their numbers alone: events and preconditions are looked at one by one."""
    checking.add_count_violations(request, "events", violations)
    checking.add_count_violations(request, "preconditions", violations)


def check_together(ids: Sequence[str], byte_count: int, violations: Violations) -> None:
    """What must hold of the events of an append beside each other: their size, no id twice."""
    if byte_count > APPEND_BYTES_MAX:
        violations.add("events", f"must be at most {APPEND_BYTES_MAX:,} bytes together")
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for index, one in enumerate(ids):
        if first.setdefault(one, index) != index:
            violations.add(f"events[{index}].id", f"must not be that of events[{first[one]}]")


def check_precondition(precondition: pb.Precondition, index: int, violations: Violations) -> None:
    """Add what is wrong with the precondition at `index` of its request."""
    rules = checking.check_of(pb.Precondition.DESCRIPTOR)
    if not rules.holds(precondition):
        rules.examine(precondition, f"preconditions[{index}].", violations)


def check_no_matches(preconditions: Iterable[pb.Precondition], violations: Violations) -> None:
    """Add what is wrong with how many there are, and with how many queries together."""
    no_matches = [one.no_match for one in preconditions if one.HasField("no_match")]
    query_count = sum(len(one.filter.queries) for one in no_matches)
    if len(no_matches) > NO_MATCHES_MAX:
        words = f"must have no_match in at most {NO_MATCHES_MAX}"
        violations.add("preconditions", words)
    elif query_count > NO_MATCH_QUERIES_MAX:
        words = f"must have at most {NO_MATCH_QUERIES_MAX} queries of no_match together"
        violations.add("preconditions", words)


def check_read(request: pb.ReadRequest, violations: Violations) -> None:
    """Add what is wrong with a request to read, its fields together included."""
    checking.add_violations(request, violations)
    if request.follow and request.direction == pb.DIRECTION_BACKWARDS:
        violations.add("follow", "must not be given when reading backwards")
    if request.HasField("from_time"):
        check_time(request.from_time, "from_time", violations)
    if request.HasField("heartbeat") and not (
        HEARTBEAT_MIN <= duration(request.heartbeat) <= HEARTBEAT_MAX
    ):
        violations.add("heartbeat", "must be from 1 s to 60 s")


def check_time(given: Timestamp, path: str, violations: Violations) -> None:
    try:
        given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        violations.add(path, "must be a time of the years 1 to 9999")


def duration(given: Duration) -> timedelta:
    """A negative one for what is too long for Python to say, and for what is no duration."""
    if abs(given.seconds) >= _SECONDS_MAX or abs(given.nanos) > _NANOS_MAX:
        return timedelta(seconds=-1)
    return timedelta(seconds=given.seconds, microseconds=given.nanos // 1_000)


def check_can_match(queries: Iterable[pb.Query], path: str, violations: Violations) -> None:
    """That each of a group's queries means events that there can be: it would wait for ever."""
    for index, query in enumerate(queries):
        if not _can_match(query):
            where = f"{path}.queries[{index}]"
            violations.add(where, "means no event: its stream_prefix is not of its category")


def _can_match(query: pb.Query) -> bool:
    """Whether there can be a stream of both its category and its prefix."""
    category, prefix = query.category, query.stream_prefix
    if not category or not prefix:
        return True
    return category.startswith(prefix) or prefix.startswith(f"{category}-")
