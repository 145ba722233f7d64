"""Rules over streams of a log in memory: each is decided, appended to `$streams`, and holds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.rules.violations import FieldViolation
from girih.testing.checking import check_owned
from girih.testing.log import Log
from girih.testing.refusals import Refused, invalid_input
from girih.testing.streams import Stream


class Ruling(NamedTuple):
    """What is asked to hold for a stream."""

    stream: str
    event: pb.Event
    """Of `$streams`, which says it."""
    apply: Callable[[Stream, pb.RecordedEvent], None]
    """Makes it hold, once the event is recorded."""
    check: Callable[[Stream], None] = lambda _stream: None
    """Raises Refused where the stream forbids it."""
    expected: Sequence[pb.Precondition] = ()


def rule(log: Log, ruling: Ruling, context: pb.Context) -> int:
    """The position of the event that says it. Repeated with the same id it answers the same."""
    check_owned([ruling.stream])
    stream = log.streams.get(ruling.stream)
    if stream is None:
        raise stream_not_found(ruling.stream)
    known = log.find(ruling.event.id)
    if known is None:
        if stream.is_tombstoned:
            raise Refused(
                "STREAM_TOMBSTONED",
                f"streams that are closed for ever: 1; the first: {stream.name}",
                {"stream_count": 1, "streams": stream.name},
            )
        ruling.check(stream)
    (placement,) = log.append([ruling.event], ruling.expected, context)
    if known is None:
        ruling.apply(stream, log.events[placement.position - 1])
    return placement.position


def redacted(log: Log, request: keeping_pb.RedactEventRequest) -> pb.RecordedEvent:
    """The event that is to lose its payload."""
    if request.position > log.head:
        message = f"no event is at position {request.position}"
        raise Refused("EVENT_NOT_FOUND", message, {"position": request.position})
    event = log.events[request.position - 1]
    check_owned([event.event.stream])
    gone = log.gone(event, log.now())
    if gone is not None and log.find(request.id) is None:
        reason = keeping_pb.GoneReason.Name(gone.reason).removeprefix("GONE_REASON_").lower()
        raise Refused("EVENT_GONE", f"the event is gone already: {reason}", {"gone_reason": reason})
    return event


def gone_by(reason: keeping_pb.GoneReason, recorded: pb.RecordedEvent) -> keeping_pb.Gone:
    """What events say that are gone by a rule."""
    return keeping_pb.Gone(
        reason=reason,
        at=recorded.recorded_at,
        actor=recorded.context.actor,
        position=recorded.position,
    )


def metadata_changed(version: int) -> Refused:
    return Refused(
        "STREAM_METADATA_CHANGED",
        f"the metadata is at version {version}",
        {"actual_version": version},
    )


def beyond_stream(last_revision: int) -> Refused:
    words = f"must be at most {last_revision + 1}, one more than the last revision"
    return invalid_input([FieldViolation("retention.truncate_before", words)])


def stream_not_found(name: str) -> Refused:
    return Refused("STREAM_NOT_FOUND", f"the stream {name} does not exist", {"stream": name})
