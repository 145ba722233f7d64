"""Recent events are found as a list of them would have it, whatever is let go or taken back."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from girih.ids import NO_POSITION, Position, StreamName
from services.events.matching.queries import Filter, Labels, Match, Query
from services.events.matching.recent import IDLE_EVENTS_MAX, NewLabels, RecentBlocks, RecentEvents
from tests.events.making import event_id

NAMES = st.sampled_from(("a", "a-1", "b", "b-1", "b-2"))
LABELS = st.builds(
    Labels,
    stream=NAMES.map(StreamName),
    type=NAMES,
    tags=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    correlation_id=NAMES,
)
QUERIES = st.builds(
    Query,
    types=st.frozensets(NAMES, max_size=2),
    tags=st.frozensets(NAMES, max_size=2),
    stream_prefix=st.sampled_from(("", "b", "b-", "c")),
    category=st.sampled_from(("", "a", "b")),
    correlation_id=st.sampled_from(("", "a")),
)
FILTERS = st.lists(QUERIES, min_size=1, max_size=3).map(lambda one: Filter(tuple(one)))


class Recently(RuleBasedStateMachine):
    """Two logs of one process, each beside the plain list of what was stored in it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = RecentBlocks(count_max=3, block_events_max=3)
        self.logs = [RecentEvents(self.blocks) for _ in range(2)]
        self.stored: list[list[NewLabels]] = [[], []]
        self.on_its_way = [0, 0]
        self.number = 0

    @initialize()
    def begin(self) -> None:
        for log in self.logs:
            log.use()
            log.begin(NO_POSITION)

    def made(self, labels: list[Labels]) -> list[NewLabels]:
        self.number += len(labels)
        return [NewLabels(event_id(self.number + index), one) for index, one in enumerate(labels)]

    @rule(which=st.integers(0, 1), labels=st.lists(LABELS, max_size=6))
    def advance(self, which: int, labels: list[Labels]) -> None:
        head = len(self.stored[which])
        events = self.made(labels)
        self.logs[which].advance(Position(head), events)
        self.stored[which] += events
        self.on_its_way[which] = len(events)

    @rule(which=st.integers(0, 1))
    def take_back(self, which: int) -> None:
        del self.stored[which][len(self.stored[which]) - self.on_its_way[which] :]
        self.on_its_way[which] = 0
        self.logs[which].forget_unsettled()

    @rule(which=st.integers(0, 1), labels=st.lists(LABELS, min_size=1, max_size=3))
    def appended_elsewhere_and_read(self, which: int, labels: list[Labels]) -> None:
        self.take_back(which)
        events = self.made(labels)
        self.stored[which] += events
        self.logs[which].catch_up(events)

    @rule(which=st.integers(0, 1), labels=st.lists(LABELS, min_size=1, max_size=3))
    def appended_elsewhere_unseen(self, which: int, labels: list[Labels]) -> None:
        self.take_back(which)
        self.stored[which] += self.made(labels)
        self.advance(which, [])

    @rule(which=st.integers(0, 1), wanted=FILTERS, behind=st.integers(0, 40))
    def look(self, which: int, wanted: Filter, behind: int) -> None:
        log = self.logs[which]
        since = log.since
        assert since is not None
        behind = max(behind, since)
        matches = [
            Match(Position(position), one.event_id)
            for position, one in enumerate(self.stored[which], 1)
            if position > behind and wanted.matches(one.labels)
        ]

        assert log.first(wanted, Position(behind)) == (matches[0] if matches else None)

    @invariant()
    def what_is_on_its_way_is_known(self) -> None:
        for log, stored, count in zip(self.logs, self.stored, self.on_its_way, strict=True):
            if log.head is not None and log.since is not None:
                assert log.head == len(stored)
                assert log.since <= len(stored) - count


TestRecently = Recently.TestCase
TestRecently.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_a_log_that_nobody_looks_at_any_more_keeps_nothing() -> None:
    log = RecentEvents(RecentBlocks())
    log.use()
    log.begin(NO_POSITION)
    one = NewLabels(event_id(1), Labels(StreamName("s"), "t", (), ""))

    for number in range(IDLE_EVENTS_MAX // 1_000 + 1):
        assert log.are_kept
        log.advance(Position(number * 1_000), [one] * 1_000)

    assert (log.are_kept, log.head, log.since) == (False, None, None)


def test_a_log_keeps_four_blocks_and_what_is_on_its_way() -> None:
    log = RecentEvents(RecentBlocks(block_events_max=10))
    log.use()
    log.begin(NO_POSITION)
    one = NewLabels(event_id(1), Labels(StreamName("s"), "t", (), ""))

    log.advance(Position(0), [one] * 95)
    assert log.since == 0
    log.advance(Position(95), [one] * 10)

    assert log.since == 70
