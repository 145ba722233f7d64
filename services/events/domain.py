"""What a log is and what may be appended to it. Knows neither storage nor wire.

`decide` is the heart: it places a whole batch of appends on a state of the log, in
memory, without touching anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple

from girih.ids import NO_POSITION, EventId, Position, Revision, StreamName
from services.events.errors import (
    BeyondEnd,
    EventIdReused,
    LogReplaced,
    PreconditionFailed,
    PreconditionTooCostly,
    SchemasMoved,
    StreamTombstoned,
    Violation,
)
from services.events.matching.queries import Filter, Labels, Match
from services.events.matching.recent import Block, NewLabels, RecentEvents
from services.events.rules.stream_rules import PlacedChange, StreamChange, StreamEnding

RECORD_BYTES_MAX = 4 * 1024 * 1024
"""What a client of gRPC takes at once unless it is told otherwise: a record of any size must
fit into a response, or its log cannot be read past it."""
RECORD_TAG = b"\x0a"
"""Stands before the length of each record where several are one message: of its first field."""
EVENT_BYTES_MAX = RECORD_BYTES_MAX - 1024
"""Leaves room for what a record has around its event. That is 300 bytes at most so far."""
POSITION_MAX = Position(2**63 - 1)
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
"""Streams of a list."""

NO_REVISION = Revision(-1)
"""The revision of a stream without events, so that the next one is always one more."""


_QUERY_BYTES = 1_000
"""What a query takes beside its types and tags."""

SCHEMAS = StreamName("$schemas")
"""The stream that a log's schemas are registered in."""


class StreamState(Enum):
    """A state of a stream that is not a revision."""

    ABSENT = "absent"
    EXISTS = "exists"


class SharedUpto(NamedTuple):
    """Up to where a log holds what it held in an incarnation that has ended."""

    position: Position
    incarnation: str
    """That the log is in now."""


@dataclass(frozen=True)
class Precondition:
    """What a stream must be like before an append: its last revision, or a state."""

    stream: StreamName
    expected: Revision | StreamState
    read_in: str = ""
    """The incarnation of the log that the revision was read in; empty when nobody is to ask."""
    position: Position | None = None
    """Where the log has the event of that revision; asked where the incarnation is not its own."""
    shared: SharedUpto | None = None
    """What is known of that incarnation then."""

    weight: ClassVar[int] = 1
    """How much it is to decide, in events."""

    @property
    def byte_count(self) -> int:
        """What it holds while it waits, roughly."""
        return len(self.stream)

    def holds(self, revision: Revision) -> bool:
        """Whether it does when the stream's last revision is `revision`."""
        if self.expected is StreamState.EXISTS:
            return revision != NO_REVISION
        if self.expected is StreamState.ABSENT:
            return revision == NO_REVISION
        return revision == self.expected

    def is_of_another(self, incarnation: str) -> bool:
        """Whether it was decided on a revision that was read in another incarnation."""
        return self.read_in not in ("", incarnation)

    def replaced(self, incarnation: str) -> LogReplaced | None:
        """What says that the event of the revision is another one than was read."""
        if not self.is_of_another(incarnation):
            return None
        upto = _shared_upto(self.shared, incarnation)
        is_same = self.position is not None and self.position <= upto
        return None if is_same else LogReplaced(incarnation, upto)


class LookedBack(NamedTuple):
    """What was found of a precondition in a part of the log that does not change any more."""

    upto: Position
    """Nothing but `match` is meant up to here."""
    match: Match | None
    incarnation: str
    """Of the log that was looked through."""


@dataclass(frozen=True)
class NoMatch:
    """What must not be in the log for an append to happen."""

    filter: Filter
    after: Position | None
    """Events up to it do not matter; None when none at all may be there."""
    looked_back: LookedBack | None = None
    read_in: str = ""
    """The incarnation of the log that was read up to `after`; empty when nobody is to ask."""
    shared: SharedUpto | None = None
    """What is known of that incarnation, where it is not the log's."""

    @property
    def weight(self) -> int:
        """How much it is to decide, in events."""
        return len(self.filter.queries)

    @property
    def byte_count(self) -> int:
        """What it holds while it waits, roughly."""
        return sum(
            _QUERY_BYTES + sum(map(len, query.types)) + sum(map(len, query.tags))
            for query in self.filter.queries
        )

    def looked_at(self, incarnation: str) -> Position:
        """Up to where nothing has to be looked at any more."""
        after = NO_POSITION if self.after is None else self.after
        looked_back = self.looked_back
        if looked_back is None or looked_back.incarnation != incarnation:
            return after
        return max(after, looked_back.upto)

    def is_of_another(self, incarnation: str) -> bool:
        """Whether it was decided on what was read of the log in another incarnation."""
        return bool(self.after) and self.read_in not in ("", incarnation)

    def replaced(self, incarnation: str) -> LogReplaced | None:
        """What says that the log does not hold what it was decided on."""
        if not self.is_of_another(incarnation):
            return None
        upto = _shared_upto(self.shared, incarnation)
        return LogReplaced(incarnation, upto) if (self.after or NO_POSITION) > upto else None

    def match(self, incarnation: str) -> Match | None:
        """What was found in the way already."""
        looked_back = self.looked_back
        if looked_back is None or looked_back.incarnation != incarnation:
            return None
        return looked_back.match

    def without_match(self) -> "NoMatch":
        """The same, to be looked for once more from where something was found: it may be gone."""
        looked_back = self.looked_back
        if looked_back is None or looked_back.match is None:
            return self
        upto = Position(looked_back.match.position - 1)
        return replace(self, looked_back=looked_back._replace(upto=upto, match=None))


def _shared_upto(shared: SharedUpto | None, incarnation: str) -> Position:
    """What is known to be shared by a log that is in an incarnation now."""
    is_known = shared is not None and shared.incarnation == incarnation
    return shared.position if shared is not None and is_known else NO_POSITION


class LogEnd(NamedTuple):
    """Where a log ends, and in which incarnation: 0 and empty when nobody has appended to it."""

    incarnation: str
    head: Position


class NewEvent(NamedTuple):
    """An event to append, in the two pieces in which it will be stored."""

    event_id: EventId
    stream: StreamName
    type: str
    tags: Sequence[str]
    digest: bytes
    """Of all that its writer said: equal when, and only when, two events are the same."""
    header: bytes
    """All of it but the payload, serialized."""
    payload: bytes
    """Its last field; empty when it has none."""
    byte_count: int
    """As its writer sent it."""


class CallContext(NamedTuple):
    """The call that appends: what filters will ask for, and all of it as it will be stored."""

    correlation_id: str
    field: bytes
    """Of a record: its tag, its length and what it holds."""


NO_CONTEXT = CallContext("", b"")


class SchemasSeen(NamedTuple):
    """What events were checked by: the schemas that a log had as of a revision of their stream."""

    incarnation: str
    """Of the log; empty when there was none."""
    revision: Revision

    def is_newest(self, incarnation: str, revision: Revision) -> bool:
        """Whether a log in that incarnation, whose stream of schemas ends there, has no others."""
        return self.revision == revision and self.incarnation in ("", incarnation)


@dataclass(frozen=True)
class Proposal:
    """What one call wants to append. Its event ids differ from each other."""

    events: Sequence[NewEvent]
    preconditions: Sequence[Precondition | NoMatch] = ()
    context: CallContext = NO_CONTEXT
    """Stored beside each event."""
    schemas: SchemasSeen | None = None
    """What its events were checked by: it is refused where the log has others by then. None
    for events that no schema binds."""
    change: StreamChange | None = None
    """What its event, which is one of `$streams` then, changes about a stream that has events."""

    def streams(self) -> set[StreamName]:
        """Every stream whose revision it takes to decide."""
        named = {event.stream for event in self.events}
        named.update([one.stream for one in self.preconditions if isinstance(one, Precondition)])
        if self.schemas is not None:
            named.add(SCHEMAS)
        if self.change is not None:
            named.add(self.change.stream)
        return named

    def no_matches(self) -> Sequence[NoMatch]:
        """What must not be in the log."""
        return [one for one in self.preconditions if isinstance(one, NoMatch)]


class StoredEvent(NamedTuple):
    """Where an event id is in the log, and what its content was."""

    position: Position
    revision: Revision
    recorded_at: datetime
    digest: bytes


class Placement(NamedTuple):
    """Where an event of a proposal is. `already_stored` says that it was so before."""

    event_id: EventId
    position: Position
    revision: Revision
    recorded_at: datetime
    already_stored: bool
    incarnation: str = ""
    """Of the log that the position is in."""


class PlacedEvent(NamedTuple):
    """An event with its place, to be written."""

    event: NewEvent
    position: Position
    stream_number: Position
    revision: Revision
    context: CallContext


class StreamHead(NamedTuple):
    """A stream's number, which is the position of its first event, and its last revision."""

    number: Position
    revision: Revision


made: Final[Any] = tuple.__new__
"""Makes a named tuple of its type and its parts, all of them, in half the time that the type takes:
for what is made of every event."""

NO_STREAM = StreamHead(NO_POSITION, NO_REVISION)
"""A stream without events."""


def page_size(requested: int) -> int:
    """The most streams on a page: 100 for 0, and 1,000 at most."""
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


Refusal = (
    PreconditionFailed
    | EventIdReused
    | BeyondEnd
    | LogReplaced
    | PreconditionTooCostly
    | StreamTombstoned
)
Outcome = Sequence[Placement] | Refusal


@dataclass(frozen=True)
class LogState:
    """A log as of one instant: the position of its last event, and where streams end."""

    head: Position
    streams: Mapping[StreamName, StreamHead]
    incarnation: str = field(default="", compare=False)
    """What is known of the log in another one is not true of it."""
    recorded_at: datetime | None = field(default=None, compare=False)
    """When its last event was; None without any."""
    endings: Mapping[StreamName, StreamEnding] = field(default_factory=dict)
    """Those of `streams` that were deleted, or are tombstoned, and have no events since."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a batch: one outcome per proposal, and what to write for them.

    The events of `placed` are to lie right behind `state.head`. `streams` is where those
    named in the batch end, once that is done.
    """

    state: LogState
    recorded_at: datetime
    outcomes: Sequence[Outcome]
    placed: Sequence[PlacedEvent]
    streams: Mapping[StreamName, StreamHead]
    changes: Sequence[PlacedChange] = ()
    endings: Mapping[StreamName, StreamEnding] = field(default_factory=dict)
    """As in the state, once that is done."""

    @property
    def head(self) -> Position:
        """Where the log ends once that is done."""
        return Position(self.state.head + len(self.placed))

    @property
    def last_recorded_at(self) -> datetime | None:
        """When the log's last event was recorded, once that is done."""
        return self.recorded_at if self.placed else self.state.recorded_at

    def stored(self) -> dict[EventId, StoredEvent]:
        """What `placed` will be found as, once that is done."""
        return {
            event.event_id: StoredEvent(position, revision, self.recorded_at, event.digest)
            for event, position, _, revision, _ in self.placed
        }


def decide(
    state: LogState,
    proposals: Sequence[Proposal],
    known: Mapping[EventId, StoredEvent],
    now: datetime,
    recent: RecentEvents | None = None,
) -> Decision:
    """Place `proposals` one after the other on `state`, each wholly or not at all.

    `state` holds every stream that a proposal names. `known` holds what is stored under the
    proposals' ids, as far as anybody looked: an id that is stored and not in it is placed
    again, which the log's unique index then refuses. What is placed is recorded at `now`, and
    never before the log's last event. `recent` holds the events of the log up to its head that
    preconditions have to be looked at for, or those are refused.

    Ids come before preconditions, so that whoever repeats an append that succeeded is
    told so, whatever happened to the streams since.
    """
    if state.recorded_at is not None:
        # Whoever looks for a time in the log relies on it: clocks go back, also from one
        # process to another.
        now = max(now, state.recorded_at)
    placing = _BatchDecision(state, known, now, recent)
    outcomes = [placing.outcome(proposal) for proposal in proposals]
    return Decision(
        state,
        now,
        outcomes,
        placing.placed,
        placing.streams(),
        placing.changes,
        placing.endings,
    )


class _BatchDecision:
    """A batch as far as it is decided."""

    def __init__(
        self,
        state: LogState,
        known: Mapping[EventId, StoredEvent],
        now: datetime,
        recent: RecentEvents | None,
    ) -> None:
        self.placed: list[PlacedEvent] = []
        self.changes: list[PlacedChange] = []
        self.endings = dict(state.endings) if state.endings else {}
        # As plain tuples: to name the parts of each would take a fifth of the whole time. And a
        # place that was counted on has no type, which to give it takes time as well.
        self._heads: dict[StreamName, tuple[Any, Any]] = dict(state.streams)
        self._position: Any = state.head
        self._incarnation = state.incarnation
        self._now = now
        self._seen: dict[EventId, tuple[Any, Any, datetime, bytes]] = dict(known)
        self._matching = _Matching(state, recent)

    def streams(self) -> dict[StreamName, StreamHead]:
        """Where the streams end so far."""
        return {stream: StreamHead(*head) for stream, head in self._heads.items()}

    def outcome(self, proposal: Proposal) -> Outcome:
        """What becomes of `proposal`, which is placed unless it is refused."""
        seen = self._seen
        # Of the first of a batch nothing has been seen, as a rule.
        stored = [event for event in proposal.events if event.event_id in seen] if seen else []
        if reused := [e.event_id for e in stored if seen[e.event_id][3] != e.digest]:
            return EventIdReused(reused)
        if self.endings and (tombstoned := self._tombstoned(proposal)):
            return StreamTombstoned(tombstoned)
        if len(stored) < len(proposal.events):
            if proposal.schemas is not None and (moved := self._moved(proposal.schemas)):
                return moved
            if proposal.preconditions and (refusal := self._refusal(proposal)):
                return refusal
        placements = self._place(proposal)
        if self.endings:
            self._begin_anew(proposal, placements)
        if proposal.change is not None and not stored:
            self._change(proposal.change)
        return placements

    def _tombstoned(self, proposal: Proposal) -> list[StreamName]:
        """The streams that new events of `proposal` cannot be appended to any more."""
        named = {event.stream for event in proposal.events if event.event_id not in self._seen}
        if proposal.change is not None and named:
            named.add(proposal.change.stream)
        return sorted(
            stream for stream in named if self.endings.get(stream) is StreamEnding.TOMBSTONED
        )

    def _begin_anew(self, proposal: Proposal, placements: Sequence[Placement]) -> None:
        for event, placement in zip(proposal.events, placements, strict=True):
            if not placement.already_stored:
                self.endings.pop(event.stream, None)

    def _change(self, change: StreamChange) -> None:
        """What the event that was placed last changes."""
        _, revision = self._heads[change.stream]
        self.changes.append(PlacedChange(change, self._position, revision + 1))
        if change.ending is not None:
            self.endings[change.stream] = change.ending

    def _moved(self, seen: SchemasSeen) -> SchemasMoved | None:
        """A batch may hold a registration, and behind it what was checked before that."""
        _, revision = self._heads[SCHEMAS]
        if seen.is_newest(self._incarnation, revision):
            return None
        return SchemasMoved([Violation(-1, SCHEMAS, None if revision == NO_REVISION else revision)])

    def _refusal(self, proposal: Proposal) -> Refusal | None:
        violations: list[Violation] = []
        for index, precondition in enumerate(proposal.preconditions):
            if isinstance(precondition, Precondition):
                _, revision = self._heads[precondition.stream]
                if self.endings and precondition.stream in self.endings:
                    revision = NO_REVISION
                if not precondition.holds(revision):
                    violations.append(_violation(index, precondition, revision))
                elif replaced := precondition.replaced(self._incarnation):
                    return replaced
                continue
            outcome = self._matching.look(index, precondition, self.placed)
            if isinstance(outcome, Violation):
                violations.append(outcome)
            elif outcome is not None:
                return outcome
        return PreconditionFailed(violations) if violations else None

    def _place(self, proposal: Proposal) -> list[Placement]:
        """Give each event that is not stored the next place. Runs once per event appended."""
        seen, heads, context, now = self._seen, self._heads, proposal.context, self._now
        position, placed, incarnation = self._position, self.placed, self._incarnation
        placements: list[Placement] = []
        for event in proposal.events:
            event_id, stream, _, _, digest, _, _, _ = event
            if event_id in seen:
                there, revision, recorded_at, _ = seen[event_id]
                placements.append(
                    Placement(event_id, there, revision, recorded_at, True, incarnation)
                )
                continue
            position += 1
            number, revision = heads[stream]
            heads[stream] = number, revision = number or position, revision + 1
            seen[event_id] = (position, revision, now, digest)
            placed.append(made(PlacedEvent, (event, position, number, revision, context)))
            placements.append(
                made(Placement, (event_id, position, revision, now, False, incarnation))
            )
        self._position = position
        return placements


class _Matching:
    """Looks for events that must not be there, among those of the log and of the batch."""

    def __init__(self, state: LogState, recent: RecentEvents | None) -> None:
        self._state = state
        self._recent = recent
        self._placed = Block(state.head)
        """Those of the batch, as far as somebody looked."""

    def look(
        self, index: int, wanted: NoMatch, placed: Sequence[PlacedEvent]
    ) -> Violation | BeyondEnd | LogReplaced | PreconditionTooCostly | None:
        """What stands in the way, with `placed` behind the log's head."""
        if replaced := wanted.replaced(self._state.incarnation):
            return replaced
        head = Position(self._state.head + len(placed))
        if wanted.after is not None and wanted.after > head:
            return BeyondEnd(
                f"preconditions[{index}]: the log ends at position {head}",
                index=index,
                after_position=wanted.after,
                head_position=head,
            )
        incarnation = self._state.incarnation
        match = wanted.match(incarnation)
        if match is None:
            looked_at = wanted.looked_at(incarnation)
            if not self._knows_all_behind(looked_at):
                return PreconditionTooCostly(index, looked_at, head)
            match = self._first(wanted.filter, looked_at, placed)
        if match is None:
            return None
        is_dated = wanted.after is not None
        return Violation(index, StreamName(""), None, read_again=is_dated, match=match)

    def _knows_all_behind(self, position: Position) -> bool:
        if position >= self._state.head:
            return True
        recent = self._recent
        if recent is None or recent.since is None or recent.head != self._state.head:
            return False
        return recent.since <= position

    def _first(
        self, wanted: Filter, behind: Position, placed: Sequence[PlacedEvent]
    ) -> Match | None:
        if behind < self._state.head:
            assert self._recent is not None
            match = self._recent.first(wanted, behind)
            if match is not None:
                return match
        for event in labels_of(placed[self._placed.head - self._state.head :]):
            self._placed.add(event)
        return self._placed.first(wanted, behind)


def labels_of(placed: Sequence[PlacedEvent]) -> list[NewLabels]:
    """What queries ask about events that are about to be written."""
    return [
        NewLabels(
            event.event_id, Labels(event.stream, event.type, event.tags, context.correlation_id)
        )
        for event, _, _, _, context in placed
    ]


def _violation(index: int, precondition: Precondition, revision: Revision) -> Violation:
    actual = None if revision == NO_REVISION else revision
    # What must be absent or exist does not depend on what was read.
    read_again = not isinstance(precondition.expected, StreamState)
    return Violation(index, precondition.stream, actual, read_again)
