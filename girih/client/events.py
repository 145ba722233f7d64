"""Events, and what is said of streams, as values. Knows no call."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from girih.ids import Position, Revision, new_event_id

ABSENT: Final = Revision(-1)
"""The revision of a stream that has no events."""
_FIRST: Final = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append. Its id is made with it, so appending it again is harmless."""

    stream: str
    type: str
    id: str = field(default_factory=new_event_id)
    """A UUID, unique per log for ever."""
    json: str | None = None
    """The payload as one JSON text; or `binary`, or neither."""
    binary: bytes | None = None
    schema_version: int = 0
    content_type: str = ""
    """The media type of `binary`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.json is not None and self.binary is not None:
            raise ValueError("an event must have json or binary, not both")
        if not self.id:
            # The server would make one at every attempt, and store the event as often.
            raise ValueError("an event must have an id")

    @classmethod
    def with_data(
        cls,
        stream: str,
        type: str,  # noqa: A002 - the field's name in the contract
        data: object,
        **fields: Any,  # noqa: ANN401 - the other fields of the class
    ) -> "NewEvent":
        """One whose payload is `data` written as JSON; raises ValueError on NaN and Infinity."""
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(stream=stream, type=type, json=text, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event with its place in the log."""

    position: Position
    revision: Revision
    recorded_at: datetime
    """By the server's clock, in UTC. Order is told by `position`, never by time."""
    id: str
    stream: str
    type: str
    schema_version: int
    json: str | None
    binary: bytes | None
    content_type: str
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    correlation_id: str
    causation_id: str
    actor: str
    """Who appended it, as the token proved."""
    incarnation: str = ""
    """Of the log that it was read from: what its places belong to."""
    gone: "Gone | None" = None
    """That its payload is gone, and why."""
    upcast_from: int | None = None
    """The version that it is stored with, where it was read with `upcast` and an upcaster leads
    on from that."""
    upcast_problem: str = ""
    """Why it is as it is stored all the same."""

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the writer wrote
        """The JSON payload, parsed anew each time; None when there is none."""
        return None if self.json is None else json.loads(self.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an event is."""

    position: Position
    revision: Revision
    event_id: str
    recorded_at: datetime
    """By the server's clock, in UTC."""
    already_stored: bool
    """It was stored before this append, and this is where."""
    incarnation: str = ""
    """Of the log that the position is in."""


class StreamState(Enum):
    """A state that is not a revision."""

    ABSENT = "absent"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Precondition:
    """A state that a stream must be in for an append to happen."""

    stream: str
    expected: Revision | StreamState
    """The revision of its last event, 0 or more; or whether it has any."""
    incarnation: str = ""
    """That the revision was read in: the append is refused with LogReplaced when the event of
    that revision is another one by now. Empty asks for nothing."""

    def __post_init__(self) -> None:
        if self.incarnation and isinstance(self.expected, StreamState):
            raise ValueError("incarnation must be given with a revision")

    @classmethod
    def at(cls, stream: str, revision: int, incarnation: str = "") -> "Precondition":
        """The stream is at `revision`, as it was read in `incarnation`; at ABSENT it has no
        events, in whichever.
        """
        if revision == ABSENT:
            return cls(stream, StreamState.ABSENT)
        return cls(stream, Revision(revision), incarnation)

    @classmethod
    def absent(cls, stream: str) -> "Precondition":
        """That the stream has no events."""
        return cls(stream, StreamState.ABSENT)

    @classmethod
    def exists(cls, stream: str) -> "Precondition":
        """That the stream has an event at least."""
        return cls(stream, StreamState.EXISTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which events are meant: those that meet every part of it that is not empty. One must be."""

    types: Collection[str] = ()
    """The event's type is one of them."""
    tags: Collection[str] = ()
    """The event has all of them."""
    stream_prefix: str = ""
    category: str = ""
    """The name of the event's stream up to before its first `-`."""
    correlation_id: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.types, str) or isinstance(self.tags, str):
            raise TypeError("types and tags must be several texts, as in tags=('a',)")


@dataclass(frozen=True, slots=True)
class NoMatch:
    """A precondition: no event that one of the queries means lies behind a position.

    `append` takes it as `unless` and `after`; an append with several of them, as preconditions.
    """

    queries: Query | Sequence[Query]
    after: int | None = None
    """The position up to which was read before deciding; None when no such event may be there
    at all."""
    incarnation: str = ""
    """That was read in: the append is refused with LogReplaced when the log does not hold all of
    it any longer. Empty asks for nothing."""

    def __post_init__(self) -> None:
        if self.incarnation and self.after is None:
            raise ValueError("incarnation must be given with after")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInfo:
    """Where a log ends."""

    head: Position
    """The position of its last event, which is also how many there are."""
    incarnation: str
    """What its positions belong to: it changes when the log is restored. Empty when nobody has
    appended to it yet."""


class GoneReason(Enum):
    """Why the payload of an event is gone."""

    RETENTION = "retention"
    DELETED = "deleted"
    REDACTED = "redacted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """That the payload of an event is gone, for ever."""

    reason: GoneReason
    at: datetime
    """When the rule, the deletion or the redaction was recorded."""
    actor: str
    """Who asked for it."""
    position: Position
    """Of the event of `$streams` that says so."""


class StreamEnding(Enum):
    """That a stream has no events, though it had some."""

    DELETED = "deleted"
    """It begins anew with the next event."""
    TOMBSTONED = "tombstoned"
    """Nobody appends to it ever again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which events of a stream are kept: those that all parts keep. None keeps all."""

    max_age_s: int | None = None
    max_count: int | None = None
    truncate_before: int | None = None
    """A revision: the first that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryInfo:
    """How many streams and events there are of a category, gone ones too."""

    category: str
    stream_count: int
    event_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTypeInfo:
    """How many events there are of a type, gone ones too."""

    type: str
    event_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """A stream, from its first event to its last."""

    stream: str
    last_revision: Revision
    first_position: Position
    last_position: Position
    created_at: datetime
    updated_at: datetime
    first_revision: Revision = _FIRST
    """Of the first event that is kept; one more than the last when none is."""
    event_count: int = 0
    """How many are kept."""
    ending: StreamEnding | None = None
    metadata: str | None = None
    """As JSON text; None without. It and what follows are not told of the streams of a list."""
    metadata_version: int = 0
    retention: Retention = field(default_factory=Retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The event that a causation id names."""

    position: Position
    correlation_id: str
    """Of the request that caused it: `trace` tells what else that did."""
    stream: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedEvent:
    """An event that a request caused."""

    event: RecordedEvent
    """Without its payload: neither `json` nor `binary`."""
    cause: Cause | None
    """None when its causation id is empty, or names no other event of the log."""


class Compatibility(Enum):
    """What a version of a schema keeps to of the one before it."""

    NONE = "none"
    BACKWARD = "backward"
    """It takes all that the version before takes."""
    FORWARD = "forward"
    """The version before takes all that it takes."""
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """A version of a type's schema that is registered."""

    type: str
    version: int
    compatibility: Compatibility
    registered_at: datetime
    """By the server's clock, in UTC."""
    has_upcaster: bool
    """An upcaster leads on from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a program folded a stream into."""

    revision: Revision
    """Of the last event that is in it."""
    schema_version: int
    """Of the layout that it was saved in."""
    state: bytes
    content_type: str
    saved_at: datetime
    """By the server's clock, in UTC."""
    is_older: bool
    """Of an earlier layout than the reader's: what that one added is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedStream:
    """The newest snapshot of a stream that fits, and all events behind it."""

    snapshot: Snapshot | None
    """None where none fits: then the events are all of the stream."""
    events: tuple[RecordedEvent, ...]
    incarnation: str
    """Of the log that they were read from."""
    head: Position
    """Where the log ended before: the `read_position` of what is saved of it."""
