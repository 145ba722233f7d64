"""`decide` places a batch as the plainest log would, one append after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from girih.ids import EventId, Position, Revision, StreamName
from services.events.domain import (
    NO_REVISION,
    NO_STREAM,
    Decision,
    LogState,
    LookedBack,
    NewEvent,
    NoMatch,
    Placement,
    Precondition,
    Proposal,
    StoredEvent,
    StreamHead,
    decide,
)
from services.events.errors import (
    BeyondEnd,
    EventIdReused,
    PreconditionFailed,
    PreconditionTooCostly,
    Violation,
)
from services.events.matching.queries import Filter, Labels, Match, Query
from services.events.matching.recent import NewLabels, RecentBlocks, RecentEvents
from tests.events.making import ABSENT, EXISTS, NOW, event_id, new_event, no_match, proposal

STREAMS = (StreamName("a"), StreamName("b"), StreamName("c"))
BEFORE = NOW - timedelta(days=1)
LABELS = ("t", "u", "v")


def in_the_way(index: int, match: Match, read_again: bool) -> Violation:
    return Violation(index, StreamName(""), None, read_again, match)


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
            return wrong if wrong == "beyond" else ("failed", wrong)
        self.events += [event for event in appended.events if event.event_id not in stored]
        now = self.stored()
        return [
            (now[event.event_id].position, now[event.event_id].revision, event in known)
            for event in appended.events
        ]

    def match(self, wanted: NoMatch) -> Match | None:
        for position, event in enumerate(self.events, 1):
            labels = Labels(event.stream, event.type, event.tags, "")
            if position > (wanted.after or 0) and wanted.filter.matches(labels):
                return Match(Position(position), event.event_id)
        return None

    def _violations(self, appended: Proposal) -> object:
        result: list[Violation] = []
        for index, precondition in enumerate(appended.preconditions):
            if isinstance(precondition, NoMatch):
                if (precondition.after or 0) > len(self.events):
                    return "beyond"
                if match := self.match(precondition):
                    result.append(in_the_way(index, match, precondition.after is not None))
                continue
            actual = self.revision(precondition.stream)
            expected = precondition.expected
            requested = {ABSENT: actual == NO_REVISION, EXISTS: actual >= 0}.get(
                expected,  # type: ignore[arg-type]  # a revision is in no key
                actual == expected,
            )
            if not requested:
                revision = Revision(actual) if actual >= 0 else None
                depends_on_reading = expected not in (ABSENT, EXISTS)
                result.append(Violation(index, precondition.stream, revision, depends_on_reading))
        return tuple(result)

    def _revision_of(self, index: int) -> int:
        stream = self.events[index].stream
        return sum(event.stream == stream for event in self.events[:index])


def in_words(outcome: Sequence[Placement] | Exception) -> object:
    if isinstance(outcome, EventIdReused):
        return "reused", outcome.event_ids
    if isinstance(outcome, PreconditionFailed):
        return "failed", outcome.violations
    if isinstance(outcome, BeyondEnd):
        return "beyond"
    assert not isinstance(outcome, Exception)
    return [(p.position, p.revision, p.already_stored) for p in outcome]


# Few ids, streams and contents, so that everything collides with everything.
events = st.builds(
    lambda number, stream, content, event_type, tags: new_event(
        stream, content=content, with_id=event_id(number), event_type=event_type, tags=tags
    ),
    st.integers(1, 12),
    st.sampled_from(STREAMS),
    st.sampled_from(["x", "x", "x", "y"]),
    st.sampled_from(LABELS),
    st.lists(st.sampled_from(LABELS), max_size=2, unique=True),
)
queries = st.builds(
    Query,
    types=st.frozensets(st.sampled_from(LABELS), max_size=2),
    tags=st.frozensets(st.sampled_from(LABELS), max_size=2),
    stream_prefix=st.sampled_from(["", "", "a"]),
)
preconditions = st.one_of(
    st.builds(
        Precondition,
        st.sampled_from(STREAMS),
        st.one_of(st.integers(0, 3), st.sampled_from([ABSENT, EXISTS])),
    ),
    st.builds(
        lambda asked, after: NoMatch(Filter(tuple(asked)), after),
        st.lists(queries, min_size=1, max_size=2),
        st.one_of(st.none(), st.integers(0, 9).map(Position)),
    ),
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


def recent_of(log: PlainLog, since: int) -> RecentEvents:
    """The events of `log` behind a position."""
    recent = RecentEvents(RecentBlocks(block_events_max=3))
    recent.begin(Position(min(since, len(log.events))))
    recent.catch_up(
        [
            NewLabels(one.event_id, Labels(one.stream, one.type, one.tags, ""))
            for one in log.events[since:]
        ]
    )
    return recent


def looked_back(appended: Proposal, log: PlainLog, recent: RecentEvents) -> Proposal:
    """`appended`, after somebody looked in the log for what is not recent."""
    since = recent.since
    assert since is not None
    known = PlainLog(log.events[:since])
    return replace(
        appended,
        preconditions=[
            replace(one, looked_back=LookedBack(since, known.match(one), ""))
            if isinstance(one, NoMatch) and (one.after or 0) < since
            else one
            for one in appended.preconditions
        ],
    )


@settings(max_examples=400, deadline=None)
@given(
    st.lists(proposals, max_size=4),
    st.lists(proposals, min_size=1, max_size=6),
    st.integers(0, 12),
)
def test_a_batch_comes_out_as_if_each_append_were_alone(
    earlier: list[Proposal], batch: list[Proposal], since: int
) -> None:
    log = before(earlier)
    recent = recent_of(log, since)
    proposed = [looked_back(one, log, recent) for one in batch]

    decision = decide(log.state(), proposed, log.stored(), NOW, recent)

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

    decision = decide(state, batch, stored, NOW, recent_of(log, 0))

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


def test_times_never_go_back_although_clocks_do() -> None:
    late = replace(empty(), recorded_at=NOW)

    decision = decide(late, [proposal(new_event("a"))], {}, BEFORE)

    assert decision.recorded_at == decision.last_recorded_at == NOW
    assert decide(late, [], {}, BEFORE).last_recorded_at == NOW


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
        Violation(1, StreamName("b"), None, read_again=False),
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


def conditional(event: NewEvent, *wanted: NoMatch) -> Proposal:
    return Proposal([event], wanted)


def test_an_event_of_the_same_batch_is_in_the_way_of_a_later_append() -> None:
    first, second = new_event("a", tags=["name:ada"]), new_event("b", tags=["name:ada"])
    unused = no_match("name:ada")

    decision = decide(empty(), [conditional(first, unused), conditional(second, unused)], {}, NOW)

    assert [placed.event for placed in decision.placed] == [first]
    refusal = decision.outcomes[1]
    assert isinstance(refusal, PreconditionFailed)
    assert refusal.violations == (
        in_the_way(0, Match(Position(1), first.event_id), read_again=False),
    )


def test_events_of_an_append_are_not_in_its_own_way() -> None:
    events = [new_event("a", tags=["x"]), new_event("a", tags=["x"])]

    decision = decide(empty(), [Proposal(events, [no_match("x", after=0)])], {}, NOW)

    assert len(decision.placed) == 2


def test_of_two_appends_that_each_forbid_the_others_event_one_is_placed() -> None:
    one = conditional(new_event("a", event_type="t"), no_match(types=["u"], after=0))
    other = conditional(new_event("b", event_type="u"), no_match(types=["t"], after=0))

    for batch in ([one, other], [other, one]):
        decision = decide(empty(), batch, {}, NOW)

        assert [placed.event for placed in decision.placed] == list(batch[0].events)
        assert isinstance(decision.outcomes[1], PreconditionFailed)


def test_all_violated_preconditions_of_both_kinds_are_told_by_index() -> None:
    log = PlainLog([new_event("a", tags=["x"]), new_event("b", tags=["x", "y"])])
    bad = Proposal(
        [new_event("c")],
        [
            no_match("x", after=1),
            Precondition(StreamName("a"), Revision(0)),
            Precondition(StreamName("c"), EXISTS),
            no_match("z"),
        ],
    )

    decision = decide(log.state(), [bad], {}, NOW, recent_of(log, 0))

    refusal = only_outcome(decision)
    assert isinstance(refusal, PreconditionFailed)
    assert refusal.violations == (
        in_the_way(0, Match(Position(2), log.events[1].event_id), read_again=True),
        Violation(2, StreamName("c"), None, read_again=False),
    )
    assert refusal.metadata["read_again"] is False


def test_a_repeated_append_is_answered_although_its_own_event_is_in_the_way_now() -> None:
    log = PlainLog([new_event("a", tags=["name:ada"])])
    again = conditional(log.events[0], no_match("name:ada"))

    decision = decide(log.state(), [again], log.stored(), NOW, None)

    assert in_words(decision.outcomes[0]) == [(1, 0, True)]


def test_a_position_beyond_the_end_is_refused_with_the_end() -> None:
    log = PlainLog([new_event("a")])

    decision = decide(
        log.state(), [conditional(new_event("a"), no_match("x", after=2))], {}, NOW, None
    )

    refusal = only_outcome(decision)
    assert isinstance(refusal, BeyondEnd)
    assert refusal.metadata == {"index": 0, "after_position": 2, "head_position": 1}


def test_what_nobody_looked_for_is_refused_and_not_taken_for_absent() -> None:
    log = PlainLog([new_event("a"), new_event("a"), new_event("a")])
    asked = conditional(new_event("b"), no_match("x", after=1))

    for recent in (None, recent_of(log, 2)):
        refusal = only_outcome(decide(log.state(), [asked], {}, NOW, recent))

        assert isinstance(refusal, PreconditionTooCostly)
    enough = recent_of(log, 1)
    assert in_words(decide(log.state(), [asked], {}, NOW, enough).outcomes[0]) == [(4, 0, False)]


def test_what_was_looked_at_in_another_incarnation_counts_for_nothing() -> None:
    log = PlainLog([new_event("a"), new_event("a")])
    elsewhere = replace(
        no_match("x"), looked_back=LookedBack(Position(2), None, incarnation="before")
    )

    refusal = only_outcome(decide(log.state(), [conditional(new_event("b"), elsewhere)], {}, NOW))

    assert isinstance(refusal, PreconditionTooCostly)
