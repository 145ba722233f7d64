"""What can go wrong in the event store, by name. Knows no transport and no storage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from girih.ids import EventId, Position, Revision, StreamName
from services.events.matching.queries import Match
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Scalar,
    Unavailable,
)

_IDS_SHOWN_MAX = 8
"""As many as fit whole into what is told of one value, see `grpc_errors`."""
_STREAMS_CHARS_MAX = 300


@dataclass(frozen=True)
class Violation:
    """One precondition that does not hold: on a stream, or on what queries mean."""

    index: int
    stream: StreamName
    """Empty when it is on queries."""
    actual_revision: Revision | None
    """None for an absent stream, and when it is on queries."""
    read_again: bool = True
    """Whether reading again can help."""
    match: Match | None = None
    """The first event in the way; None when it is on a stream."""

    def __str__(self) -> str:
        if self.match is not None:
            return f"event {self.match.event_id} at position {self.match.position} is in the way"
        if self.actual_revision is None:
            return f"{self.stream} has no events"
        return f"{self.stream} is at revision {self.actual_revision}"

    def metadata(self) -> dict[str, Scalar]:
        if self.match is not None:
            return {"position": self.match.position, "event_id": self.match.event_id}
        revision = -1 if self.actual_revision is None else self.actual_revision
        return {"stream": self.stream, "actual_revision": revision}


class PreconditionFailed(Conflict):
    """A stream is not in the state that the append expects, or an event is there that it does not.
    Nothing was appended.
    """

    reason = "PRECONDITION_FAILED"

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        super().__init__(
            f"preconditions that do not hold: {len(violations)}; the first: {first}",
            violation_count=len(violations),
            index=first.index,
            read_again=all(violation.read_again for violation in violations),
            **first.metadata(),
        )
        self.violations = tuple(violations)


class PreconditionTooCostly(ResourceExhausted):
    """To look for events that must not be there takes too long. Nothing was appended, and a retry
    will not help.
    """

    reason = "PRECONDITION_TOO_COSTLY"

    def __init__(self, index: int, looked_at: Position, head: Position) -> None:
        super().__init__(
            f"preconditions[{index}]: it takes too long to look for events; it was looked up to"
            f" position {looked_at} of {head}",
            retry_after_s=None,
            index=index,
            looked_at_position=looked_at,
            head_position=head,
        )


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


class StreamTombstoned(FailedPrecondition):
    """Streams are closed for ever. Nothing was appended."""

    reason = "STREAM_TOMBSTONED"

    def __init__(self, streams: Sequence[StreamName]) -> None:
        super().__init__(
            f"streams that are closed for ever: {len(streams)}; the first: {streams[0]}",
            stream_count=len(streams),
            streams=",".join(_fitting(streams)),
        )
        self.streams = tuple(streams)


class MetadataChanged(Conflict):
    """The metadata of a stream is not the version that was expected. Nothing was changed."""

    reason = "STREAM_METADATA_CHANGED"


class EventNotFound(NotFound):
    """No event is at the position."""

    reason = "EVENT_NOT_FOUND"


class EventGone(FailedPrecondition):
    """The event is gone already, for a reason that it tells. Nothing was changed."""

    reason = "EVENT_GONE"


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


class SnapshotRevisionNotFound(NotFound):
    """The stream has no event of the revision that a snapshot was taken at. Nothing was saved."""

    reason = "SNAPSHOT_REVISION_NOT_FOUND"


class SchemasMoved(PreconditionFailed):
    """A schema was registered while the events were checked by those before. Nothing was
    appended, and the events are checked again.
    """

    reason = "SCHEMAS_MOVED"


class SchemaViolated(InvalidInput):
    """An event is not as the schema of its type and version says. Nothing was appended."""

    reason = "SCHEMA_VIOLATED"


class SchemaVersionUnknown(InvalidInput):
    """A type has schemas, and none of the version that an event names. Nothing was appended."""

    reason = "SCHEMA_VERSION_UNKNOWN"


class SchemaRefused(InvalidInput):
    """The schema says what no schema may. Nothing was registered."""

    reason = "SCHEMA_REFUSED"


class SchemaIncompatible(FailedPrecondition):
    """The schema breaks what it promises of the version before it. Nothing was registered."""

    reason = "SCHEMA_INCOMPATIBLE"


class SchemaVersionTaken(AlreadyExists):
    """The version is registered with another schema, or an event of a later one may be stored."""

    reason = "SCHEMA_VERSION_TAKEN"


class SchemaNotFound(NotFound):
    """No such version of such a type is registered."""

    reason = "SCHEMA_NOT_FOUND"


class UpcasterRefused(InvalidInput):
    """The upcaster leads nowhere, or makes what the schema refuses. Nothing was registered."""

    reason = "UPCASTER_REFUSED"


class SchemasFull(ResourceExhausted):
    """The log has as many schemas as it may. Nothing was registered."""

    reason = "SCHEMAS_FULL"


class SchemasBusy(ResourceExhausted):
    """Checks that take long wait for their turn, more than this process works on."""

    reason = "SCHEMAS_BUSY"


class SchemaCheckTooLong(ResourceExhausted):
    """A check by a schema took longer than it may, and was ended. Nothing was done."""

    reason = "SCHEMA_CHECK_TOO_LONG"


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


class RestoreMisplaced(Conflict):
    """The log does not end where what is to be restored begins. Nothing was restored."""

    reason = "RESTORE_MISPLACED"

    def __init__(self, after: Position, head: Position) -> None:
        super().__init__(
            f"the log ends at position {head} and not at {after}",
            after_position=after,
            head_position=head,
        )


class LogNotEmpty(FailedPrecondition):
    """The log holds events that were not restored, so nothing can be restored behind them."""

    reason = "LOG_NOT_EMPTY"

    def __init__(self, head: Position) -> None:
        super().__init__(
            f"the log holds events that were appended to it, up to position {head}",
            head_position=head,
        )


class RecordDamaged(InvalidInput):
    """An event to be restored is not what its digest says. Nothing was restored."""

    reason = "RECORD_DAMAGED"

    def __init__(self, position: Position) -> None:
        super().__init__(
            f"the event at position {position} is not what its digest says", position=position
        )


class LogMoved(Unavailable):
    """The log left this place for another while it was asked. Nothing was done, and the next try
    finds it.
    """

    reason = "LOG_MOVED"

    @classmethod
    def unknown_at(cls, place: str, *, retry_after_s: float | None = None) -> "LogMoved":
        """Of a log that a place has whose database knows nothing of it."""
        message = f"the log is at the place {place}, whose database does not know it"
        return cls(message, retry_after_s=retry_after_s)


class PlaceUnknown(InvalidInput):
    """There is no place of that name. Nothing was changed."""

    reason = "PLACE_UNKNOWN"


class LogNotFound(NotFound):
    """Nobody has appended to the log of this tenant, or placed it. Nothing was changed."""

    reason = "LOG_NOT_FOUND"


class LogMoving(FailedPrecondition):
    """The log is on its way to another place already. Nothing was changed."""

    reason = "LOG_MOVING"


class MoveInterrupted(Unavailable):
    """A move does not go on for now. The log is where it was, and is tried again."""

    reason = "MOVE_INTERRUPTED"


class ReadersBusy(ResourceExhausted):
    """What is on its way to readers holds as much memory as it may."""

    reason = "READERS_BUSY"


class GroupNotFound(NotFound):
    """There is no consumer group of that name, or it was deleted."""

    reason = "GROUP_NOT_FOUND"


class GroupExists(AlreadyExists):
    """A consumer group of that name has other settings. Nothing was changed."""

    reason = "GROUP_EXISTS"


class GroupChanged(Conflict):
    """The settings of a consumer group are not the version expected. Nothing was changed."""

    reason = "GROUP_CHANGED"


class GroupKeyFixed(FailedPrecondition):
    """What a consumer group keeps in order by cannot be changed. Nothing was."""

    reason = "GROUP_KEY_FIXED"


class GroupChanging(ResourceExhausted):
    """The lanes of a consumer group were cut anew too often for its consumers to keep up."""

    reason = "GROUP_CHANGING"


class GroupsFull(ResourceExhausted):
    """The tenant has as many consumer groups as it may. Nothing was created."""

    reason = "GROUPS_FULL"


class ConsumersFull(ResourceExhausted):
    """A consumer group has as many consumers as it may."""

    reason = "CONSUMERS_FULL"


class ConsumerSilent(Unavailable):
    """A consumer was not heard for as long as its lease. Its lanes go to others."""

    reason = "CONSUMER_SILENT"


class EventNotDelivered(FailedPrecondition):
    """Something is said of an event that the consumer does not have."""

    reason = "EVENT_NOT_DELIVERED"


class ParkedEventNotFound(NotFound):
    """An event is not parked by the consumer group. Nothing was changed."""

    reason = "PARKED_EVENT_NOT_FOUND"


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
