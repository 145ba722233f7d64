"""What the event store needs of a database. Knows none.

Whatever is asked of a store raises `Unavailable` when the database cannot be reached,
and `ResourceExhausted` when it is too busy to answer in time.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

from girih.ids import NO_POSITION, EventId, Position, Revision, StreamName, TenantId
from services.events.domain import LogEnd, LogState, PlacedEvent, StoredEvent
from services.events.matching.queries import Filter, Match
from services.events.matching.recent import NewLabels
from services.events.rules.stream_rules import (
    FIRST_REVISION,
    NO_RETENTION,
    PlacedChange,
    RedactionTarget,
    Retention,
    StreamEnding,
    StreamRules,
)


class WriteResult(Enum):
    """What came of writing a batch. All of it is written, or nothing."""

    WRITTEN = "written"
    HEAD_MOVED = "head moved"
    """The log does not end where the batch begins: decide again on the state as it is now."""
    ID_STORED = "id stored"
    """The log holds the id of an event of the batch: find which, and decide again."""
    STREAM_STORED = "stream stored"
    """The log holds a stream that the batch begins: read where it ends, and decide again."""


class Look(NamedTuple):
    """What was found of a filter behind a position."""

    upto: Position
    """Nothing but `match` is meant up to here."""
    match: Match | None
    incarnation: str
    """Of the log that was looked through."""
    is_end: bool
    """There is nothing behind `upto`."""


@dataclass(frozen=True)
class RecordBatch:
    """Events that are written together, in the order of their positions.

    `headers` are their records up to the payloads, which `placed` has.
    """

    recorded_at: datetime
    placed: Sequence[PlacedEvent]
    headers: Sequence[bytes]
    incarnation: str = ""
    """Of the log that it was decided on; empty for whichever it is in."""
    changes: Sequence[PlacedChange] = ()
    """What some of them change about streams, in the same order."""
    encoded: object = field(default=None, compare=False, repr=False)
    """What `Log.encoded` made of them, for `write` of the same log; None where it was not asked."""


class LogReader(Protocol):
    """One log, as far as it is asked what is appended to it."""

    async def state(self, streams: Sequence[StreamName]) -> LogState:
        """The head and where `streams` end, all as of one instant."""

    async def find(self, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        """Where these events are. Ids that are not stored are left out."""

    async def recent(self, behind: Position, upto: Position) -> Sequence[NewLabels]:
        """What queries ask about the events from behind a position up to another, in order."""

    async def look(self, wanted: Filter, behind: Position) -> Look:
        """The first event behind a position that is meant, as far as some tenths of a second go."""

    async def hides(self, positions: Sequence[Position]) -> bool:
        """Whether one of these events at least is passed over now, by the rules of its stream."""

    async def shared_position(self, incarnation: str) -> Position | None:
        """The position up to which the log holds what it held in an incarnation that has ended;
        None when that was never one of its own.
        """

    async def position_of(self, stream: StreamName, revision: Revision) -> Position | None:
        """Where the event of a revision is; None where there is none, or it was deleted."""


class LogView(LogReader, Protocol):
    """One log, as its sequencer reads and writes it."""

    async def write(self, head: Position, batch: RecordBatch) -> WriteResult:
        """Write `batch` right behind `head`, in one transaction, if the log ends there and is
        in the batch's incarnation.

        Whether it has been written is not known when this raises.
        """


class Log(LogView, Protocol):
    """A log that can also be locked."""

    async def encoded(self, batch: RecordBatch) -> RecordBatch:
        """`batch`, encoded as `write` sends it, which then waits for nothing but the database. Lets
        other calls run in between.
        """

    def locked(self) -> AbstractAsyncContextManager[LogView]:
        """The log in one transaction that no other append can come between.

        Waits its turn for the lock. What is written counts once the block has ended; when
        the block raises, nothing was written.
        """


class LogPlace(NamedTuple):
    """A place in a log, and the incarnation that it is in: empty when nobody has appended."""

    incarnation: str
    position: Position


class FollowedLog(NamedTuple):
    """A log whose end somebody follows, as it was seen last."""

    tenant: TenantId
    incarnation: str
    head: Position


Page = Sequence[tuple[int, bytes | None]]
"""Records in reading order, each with its position. None stands for a record that is larger than
was asked for, and no bytes for one that is gone and passed over."""

TailRow = tuple[Position, bytes | None, StreamName, Revision, str, Sequence[str] | None, str]
TailPage = Sequence[TailRow]
"""Records next to each other in a log: position, record, stream, revision, type, tags and
correlation id. A record of None is as above, and no tags are None."""


class LogPage(NamedTuple):
    """Records next to each other in a log, or in one stream, in reading order.

    They come as one: taking thousands from the database each for itself takes most of the time
    that reading takes.
    """

    incarnation: str
    """That they were read from."""
    record_count: int
    last: int
    """The position of the last one, or its revision when a stream is read; 0 of none."""
    byte_count: int
    """Of all together, without what stands before each."""
    fields: Sequence[bytes] | None
    """Pieces which are, one behind the other, each record behind `RECORD_TAG` and its length.

    None when they are larger than was asked for, together or one of them."""
    passed_count: int = 0
    """How many more lie there and are gone."""

    @property
    def row_count(self) -> int:
        """How many were looked at."""
        return self.record_count + self.passed_count


class Lapsing(NamedTuple):
    """When records of a page of a log's tail will be gone without any further rule."""

    at: datetime | None = None
    """The first of them by its age; None when none will."""
    below: Mapping[StreamName, Revision] = {}
    """Those of each stream here below that revision are gone: a stream keeps so many only."""


NO_LAPSING = Lapsing()


class LogTail(NamedTuple):
    """The tail of a log, and the incarnation that it was read from."""

    incarnation: str
    rows: TailPage
    lapsing: Lapsing = NO_LAPSING


@dataclass(frozen=True)
class PageRequest:
    """One page of a stream by revision, or of the whole log by position."""

    stream: StreamName | None
    """None for the log."""
    is_backwards: bool
    start: int
    """The position or revision of the first record that may be returned."""
    row_count_max: int
    record_bytes_max: int
    """Of each record; what the database holds for a moment is the product of both at most."""
    page_bytes_max: int
    """Of all together."""
    position_min: Position = NO_POSITION
    """Records before it are left out of a stream that is read forwards."""
    record_count_max: int = 2**63 - 1
    """Of those that are not gone; no more than that come, however many are looked at."""
    shows_gone: bool = False
    """Records that are gone come without their payload, and say why, instead of not at all."""


@dataclass(frozen=True)
class FilteredRequest:
    """One page of the events of a log that a filter means."""

    filter: Filter
    is_backwards: bool
    start: Position
    """Of the first record that may be returned; may lie beyond the end."""
    row_count_max: int
    record_bytes_max: int
    """Larger records come as None, so that a page never exceeds the product of both."""
    shows_gone: bool = False
    """As in `PageRequest`."""


class FilteredRows(NamedTuple):
    """Records of a log in reading order, and up to where it was looked for them."""

    rows: Page
    looked_at: Position
    """Between where the page begins and here nothing else is meant; the log's head when it
    begins beyond that."""
    is_end: bool
    """Nothing lies behind it."""


class FilteredPage(NamedTuple):
    """The same, and the incarnation of the log that it was read from."""

    incarnation: str
    rows: FilteredRows


@dataclass(frozen=True)
class StreamEnds:
    """Where the first and the last record of a stream are, and when they were recorded."""

    first_position: Position
    created_at: datetime
    last_position: Position
    last_revision: Revision
    updated_at: datetime
    first_revision: Revision = FIRST_REVISION
    """Of the first record that is kept; one more than the last when none is."""
    ending: StreamEnding | None = None
    metadata: str = ""
    """It and what follows are not told of the streams of a list."""
    metadata_version: int = 0
    retention: Retention = NO_RETENTION


class NamedStream(NamedTuple):
    """A stream of a list."""

    name: StreamName
    ends: StreamEnds


@dataclass(frozen=True)
class StreamsRequest:
    """The streams whose names begin with `prefix` and lie behind `behind`, as bytes compare."""

    prefix: str
    behind: str
    count_max: int
    is_category: bool = False
    """`prefix` is all of a name up to its first `-`."""

    @property
    def end(self) -> str:
        """What all these names lie before. No character of a name lies below `-`, which ends a
        category, or behind `~`.
        """
        return f"{self.prefix}{_BEHIND_CATEGORY if self.is_category else _BEHIND_ALL}"


class TallyKind(Enum):
    """What events are counted by."""

    TYPE = "type"
    CATEGORY = "category"


@dataclass(frozen=True)
class TalliesRequest:
    """The counts by `kind` behind a name, as bytes compare."""

    kind: TallyKind
    behind: str
    count_max: int


class Tally(NamedTuple):
    """How many events there are of one name, gone ones too."""

    name: str
    event_count: int
    stream_count: int
    """Of a category."""


class TallyPage(NamedTuple):
    """Counts in the order of their names."""

    rows: Sequence[Tally]
    counted: Position
    """Events behind it are not counted yet."""


_BEHIND_CATEGORY = "."
_BEHIND_ALL = "\x7f"


@dataclass(frozen=True)
class TraceRequest:
    """The events that calls with a correlation id appended, behind a position."""

    correlation_id: str
    after: Position
    count_max: int
    header_bytes_max: int
    """What their headers take together at most."""
    read_in: str = ""
    """The incarnation that was read up to there; empty when nobody is to ask."""


class TraceRow(NamedTuple):
    """An event of a trace: all of its record but the payload."""

    position: Position
    event_id: EventId
    header: bytes


class TracePage(NamedTuple):
    """The first events that were asked for, oldest first."""

    rows: Sequence[TraceRow]
    next_after: Position
    """Where the next page begins; NO_POSITION when there is none."""
    incarnation: str


class Cause(NamedTuple):
    """Where an event is that others name as their cause."""

    position: Position
    correlation_id: str
    stream: StreamName
    type: str


@dataclass(frozen=True)
class DatabaseStatus:
    """How the database and the pool of connections to it are, now."""

    latency_ms: float | None
    """How long the database took to answer; None when it did not."""
    server_version: str
    pool_size: int
    pool_idle: int
    pool_waiting: int
    pool_size_min: int
    pool_size_max: int


class ListedLog(NamedTuple):
    """A log that there is."""

    number: int
    """In the order in which logs began."""
    tenant: TenantId
    head: Position
    """0 before its first event."""
    moved_to: str | None = None
    """The place where it is; None when that is where it was asked."""
    moving_to: str | None = None
    """The place that it is copied to; None while it stays."""


class EventStore(Protocol):
    """The logs of all tenants."""

    def log(self, tenant: TenantId) -> Log:
        """The log of `tenant`. It comes into being with its first event."""

    async def end(self, tenant: TenantId) -> LogEnd:
        """Where the log ends now."""

    async def position_at(self, tenant: TenantId, time: datetime) -> "LogPlace":
        """The position of the first event recorded at or after `time`; one behind the end when
        there is none.
        """

    async def shared_position(self, tenant: TenantId, incarnation: str) -> Position | None:
        """The position up to which the log holds what it held in an incarnation that has ended;
        None when that was never one of its own.
        """

    async def moved(self, logs: Sequence[FollowedLog]) -> Sequence[TenantId]:
        """The tenants of those logs that are not as they were seen last.

        One round trip and 10 microseconds a log, whatever they hold.
        """

    async def revision_at(
        self, tenant: TenantId, stream: StreamName, position: Position
    ) -> Revision:
        """How many events of `stream` lie before `position`: the revision of the next."""

    async def stream_ends(self, tenant: TenantId, stream: StreamName) -> StreamEnds | None:
        """Where a stream begins and ends, None when it does not exist."""

    async def streams(self, tenant: TenantId, request: StreamsRequest) -> Sequence[NamedStream]:
        """The first streams that are asked for, in the order of their names, as of one instant."""

    async def trace(self, tenant: TenantId, request: TraceRequest) -> TracePage:
        """What calls with one correlation id appended, in pages that may be empty."""

    async def causes(
        self, tenant: TenantId, event_ids: Sequence[EventId]
    ) -> Mapping[EventId, Cause]:
        """Where these events are. Ids that are not stored are left out."""

    async def tallies(self, tenant: TenantId, request: TalliesRequest) -> TallyPage:
        """How many events there are by what is asked. Counts on first what is new, for a second at
        most.
        """

    async def stream_rules(self, tenant: TenantId, stream: StreamName) -> StreamRules | None:
        """What holds for a stream, None when it never had an event."""

    async def event_at(self, tenant: TenantId, position: Position) -> RedactionTarget | None:
        """Which event is at a position, None when none is."""

    async def page(self, tenant: TenantId, request: PageRequest) -> LogPage:
        """The records of one page. Fewer than asked for means that the end is reached."""

    async def filtered(self, tenant: TenantId, request: FilteredRequest) -> FilteredPage:
        """The records of a page that a filter means. Costs what it finds; looks at so few others
        that it takes a moment, also when nothing is found.
        """

    async def tail(
        self, tenant: TenantId, position: Position, row_count_max: int, record_bytes_max: int
    ) -> LogTail:
        """The records of a log from `position` on, oldest first, as `page` gives them."""
