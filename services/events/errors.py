"""What can go wrong in the event store, by name. Knows no transport and no storage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from girih.ids import EventId, Position, Revision, StreamName
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)

_IDS_SHOWN_MAX = 8
"""As many as fit whole into what is told of one value, see `grpc_errors`."""
_STREAMS_CHARS_MAX = 300


@dataclass(frozen=True)
class Violation:
    """One precondition that does not hold. `actual_revision` is None for an absent stream."""

    index: int
    stream: StreamName
    actual_revision: Revision | None


class PreconditionFailed(Conflict):
    """A stream is not in the state that the append expects. Nothing was appended."""

    reason = "PRECONDITION_FAILED"

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        state = "has no events"
        if first.actual_revision is not None:
            state = f"is at revision {first.actual_revision}"
        super().__init__(
            f"preconditions that do not hold: {len(violations)}; the first: {first.stream} {state}",
            violation_count=len(violations),
            index=first.index,
            stream=first.stream,
            actual_revision=-1 if first.actual_revision is None else first.actual_revision,
        )
        self.violations = tuple(violations)


class EventIdReused(AlreadyExists):
    """Ids are stored with other content. Nothing was appended, and a retry will not help."""

    reason = "EVENT_ID_REUSED"

    def __init__(self, event_ids: Sequence[EventId]) -> None:
        super().__init__(
            f"{len(event_ids)} of the event ids are stored with other content",
            event_id_count=len(event_ids),
            event_ids=",".join(event_ids[:_IDS_SHOWN_MAX]),
        )
        self.event_ids = tuple(event_ids)


class AppendQueueFull(ResourceExhausted):
    """More waits to be appended than this process keeps. Nothing was appended."""

    reason = "APPEND_QUEUE_FULL"


class StreamOwned(PermissionDenied):
    """Streams belong to a service, which alone appends to them. Nothing was appended."""

    reason = "STREAM_OWNED"

    def __init__(self, streams: Sequence[StreamName]) -> None:
        super().__init__(
            f"streams of a service, which alone appends to them: {len(streams)};"
            f" the first: {streams[0]}",
            stream_count=len(streams),
            streams=",".join(_fitting(streams)),
        )
        self.streams = tuple(streams)


class BeyondEnd(Conflict):
    """The log, or the stream, ends before what should have been seen: it was set back."""

    reason = "BEYOND_END"


class LogReplaced(Conflict):
    """The log does not hold any longer what was read of it: it was restored, or another server
    took over that did not have all of it. `shared_position` is where the two part.
    """

    reason = "LOG_REPLACED"

    def __init__(self, incarnation: str, shared_position: Position) -> None:
        super().__init__(
            "the log was replaced by an earlier state of it: what was read behind position"
            f" {shared_position} is not in it any longer",
            incarnation=incarnation,
            shared_position=shared_position,
        )


class ReadersBusy(ResourceExhausted):
    """What is on its way to readers holds as much memory as it may."""

    reason = "READERS_BUSY"


class StreamNotFound(NotFound):
    """No event was ever appended to the stream."""

    reason = "STREAM_NOT_FOUND"


def _fitting(streams: Sequence[StreamName]) -> Iterator[str]:
    """As many names as are told whole, the first always: a name has 255 characters at most."""
    left = _STREAMS_CHARS_MAX
    for stream in streams:
        left -= len(stream) + 1
        if left < 0:
            return
        yield stream
