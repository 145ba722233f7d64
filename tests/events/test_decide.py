"""`decide` places a batch as the plainest log would, one append after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from girih.ids import EventId, Position, Revision, StreamName
from services.events.domain import (
    NO_REVISION,
    NO_STREAM,
    Decision,
    LogState,
    NewEvent,
    Placement,
    Precondition,
    Proposal,
    StoredEvent,
    StreamHead,
    decide,
)
from services.events.errors import EventIdReused, PreconditionFailed, Violation
from tests.events.making import ABSENT, EXISTS, NOW, event_id, new_event, proposal

STREAMS = (StreamName("a"), StreamName("b"), StreamName("c"))
BEFORE = NOW - timedelta(days=1)


@dataclass
class PlainLog:
    """A log as a list, and appends as its contract words them."""

    events: list[NewEvent] = field(default_factory=list)

    def revision(self, stream: str) -> int:
        return sum(event.stream == stream for event in self.events) - 1

    def head(self, stream: str) -> StreamHead:
        positions = [number for number, one in enumerate(self.events, 1) if one.stream == stream]
        return (
            StreamHead(Position(positions[0]), Revision(len(positions) - 1))
            if positions
            else NO_STREAM
        )

    def state(self) -> LogState:
        return LogState(
            Position(len(self.events)), {stream: self.head(stream) for stream in STREAMS}
        )

    def stored(self) -> dict[EventId, StoredEvent]:
        return {
            event.event_id: StoredEvent(
                Position(index + 1), Revision(self._revision_of(index)), BEFORE, event.digest
            )
            for index, event in enumerate(self.events)
        }

    def append(self, appended: Proposal) -> object:
        """The outcome in words that can be compared."""
        stored = self.stored()
        known = [event for event in appended.events if event.event_id in stored]
        if reused := [e.event_id for e in known if stored[e.event_id].digest != e.digest]:
            return "reused", tuple(reused)
        if len(known) < len(appended.events) and (wrong := self._violations(appended)):
            return "failed", wrong
        self.events += [event for event in appended.events if event.event_id not in stored]
        now = self.stored()
        return [
            (now[event.event_id].position, now[event.event_id].revision, event in known)
            for event in appended.events
        ]

    def _violations(self, appended: Proposal) -> tuple[Violation, ...]:
        result = []
        for index, precondition in enumerate(appended.preconditions):
            actual = self.revision(precondition.stream)
            expected = precondition.expected
            requested = {ABSENT: actual == NO_REVISION, EXISTS: actual >= 0}.get(
                expected,  # type: ignore[arg-type]  # a revision is in no key
                actual == expected,
            )
            if not requested:
                result.append(
                    Violation(index, precondition.stream, Revision(actual) if actual >= 0 else None)
                )
        return tuple(result)

    def _revision_of(self, index: int) -> int:
        stream = self.events[index].stream
        return sum(event.stream == stream for event in self.events[:index])


def in_words(outcome: Sequence[Placement] | Exception) -> object:
    if isinstance(outcome, EventIdReused):
        return "reused", outcome.event_ids
    if isinstance(outcome, PreconditionFailed):
        return "failed", outcome.violations
    assert not isinstance(outcome, Exception)
    return [(p.position, p.revision, p.already_stored) for p in outcome]


# Few ids, streams and contents, so that everything collides with everything.
events = st.builds(
    lambda number, stream, content: new_event(stream, content=content, with_id=event_id(number)),
    st.integers(1, 12),
    st.sampled_from(STREAMS),
    st.sampled_from(["x", "x", "x", "y"]),
)
preconditions = st.builds(
    Precondition,
    st.sampled_from(STREAMS),
    st.one_of(st.integers(0, 3), st.sampled_from([ABSENT, EXISTS])),
)
proposals = st.builds(
    Proposal,
    st.lists(events, min_size=1, max_size=4, unique_by=lambda event: event.event_id),
    st.lists(preconditions, max_size=3),
)


def before(batches: Sequence[Proposal]) -> PlainLog:
    log = PlainLog()
    for appended in batches:
        log.append(appended)
    return log


@settings(max_examples=400, deadline=None)
@given(st.lists(proposals, max_size=4), st.lists(proposals, min_size=1, max_size=6))
def test_a_batch_comes_out_as_if_each_append_were_alone(
    earlier: list[Proposal], batch: list[Proposal]
) -> None:
    log = before(earlier)

    decision = decide(log.state(), batch, log.stored(), NOW)

    assert [in_words(outcome) for outcome in decision.outcomes] == [
        log.append(appended) for appended in batch
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(proposals, max_size=4), st.lists(proposals, min_size=1, max_size=6))
def test_what_is_placed_continues_the_log_without_gaps(
    earlier: list[Proposal], batch: list[Proposal]
) -> None:
    log = before(earlier)
    state, stored = log.state(), log.stored()

    decision = decide(state, batch, stored, NOW)

    for appended in batch:
        log.append(appended)
    assert [placed.event for placed in decision.placed] == log.events[state.head :]
    assert [placed.position for placed in decision.placed] == list(
        range(state.head + 1, len(log.events) + 1)
    )
    assert log.state().streams == {**state.streams, **decision.streams}
    assert [placed.stream_number for placed in decision.placed] == [
        log.head(placed.event.stream).number for placed in decision.placed
    ]


def empty() -> LogState:
    return LogState(Position(0), dict.fromkeys(STREAMS, NO_STREAM))


def only_outcome(decision: Decision) -> object:
    assert len(decision.outcomes) == 1
    return decision.outcomes[0]


def test_names_every_precondition_that_does_not_hold() -> None:
    state = LogState(
        Position(6),
        {
            StreamName("a"): StreamHead(Position(1), Revision(4)),
            StreamName("b"): NO_STREAM,
            StreamName("c"): StreamHead(Position(6), Revision(0)),
        },
    )

    decision = decide(
        state, [proposal(new_event("a"), expecting={"a": 3, "b": EXISTS, "c": 0})], {}, NOW
    )

    outcome = only_outcome(decision)
    assert isinstance(outcome, PreconditionFailed)
    assert outcome.violations == (
        Violation(0, StreamName("a"), Revision(4)),
        Violation(1, StreamName("b"), None),
    )
    assert decision.placed == []


def test_a_repeated_append_is_answered_although_its_precondition_no_longer_holds() -> None:
    first = new_event("a")
    known = {first.event_id: StoredEvent(Position(1), Revision(0), BEFORE, first.digest)}

    decision = decide(
        LogState(Position(1), {StreamName("a"): StreamHead(Position(1), Revision(0))}),
        [proposal(first, expecting={"a": ABSENT})],
        known,
        NOW,
    )

    assert only_outcome(decision) == [
        Placement(first.event_id, Position(1), Revision(0), BEFORE, already_stored=True)
    ]


def test_preconditions_count_when_only_some_of_the_events_are_stored() -> None:
    first, second = new_event("a"), new_event("a")
    known = {first.event_id: StoredEvent(Position(1), Revision(0), BEFORE, first.digest)}

    decision = decide(
        LogState(Position(1), {StreamName("a"): StreamHead(Position(1), Revision(0))}),
        [proposal(first, second, expecting={"a": ABSENT})],
        known,
        NOW,
    )

    assert isinstance(only_outcome(decision), PreconditionFailed)


def test_the_second_of_two_equal_appends_in_a_batch_sees_the_first() -> None:
    event = new_event("a")

    decision = decide(empty(), [proposal(event), proposal(event)], {}, NOW)

    assert decision.outcomes == [
        [Placement(event.event_id, Position(1), Revision(0), NOW, already_stored=False)],
        [Placement(event.event_id, Position(1), Revision(0), NOW, already_stored=True)],
    ]
    assert len(decision.placed) == 1


def test_a_refused_append_leaves_its_batch_mates_alone() -> None:
    good, bad, better = new_event("a"), new_event("a"), new_event("a")

    decision = decide(
        empty(),
        [proposal(good), proposal(bad, expecting={"a": ABSENT}), proposal(better)],
        {},
        NOW,
    )

    assert [placed.event for placed in decision.placed] == [good, better]
    assert [placed.revision for placed in decision.placed] == [0, 1]
