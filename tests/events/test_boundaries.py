"""What preconditions that no event may match take, on a real log and beside other replicas."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from girih.ids import RULES_STREAM, Position, Revision, StreamName, TenantId
from services.events import record
from services.events.appending import boundaries
from services.events.appending.committer import Committer, CommitterLimits
from services.events.appending.remembered import RememberedLog, RevisionCache
from services.events.domain import LogState, NewEvent, NoMatch, Outcome, Precondition, Proposal
from services.events.errors import (
    BeyondEnd,
    EventIdReused,
    LogReplaced,
    PreconditionFailed,
    PreconditionTooCostly,
    StreamTombstoned,
)
from services.events.matching.queries import Labels
from services.events.matching.recent import NewLabels, RecentBlocks, RecentEvents
from services.events.postgres.store import PostgresEventStore
from services.events.rules.stream_rules import StreamChange, StreamEnding
from tests.events.counting import Counts
from tests.events.failing import FailingLog, connection_lost, nothing
from tests.events.making import ABSENT, event_id, new_event, no_match, proposal

TENANT = TenantId("acme")


class Replica:
    """A committer as a process has it."""

    def __init__(self, store: PostgresEventStore, recent: RecentEvents | None = None) -> None:
        self.log = FailingLog(store.log(TENANT))
        self.committer = Committer(
            self.log,
            record.encoder_at,
            Counts(),
            CommitterLimits(retry_delay_min_s=0.001),
            RevisionCache(),
            recent=recent,
        )
        self.calls = self.log.calls

    async def append(self, *proposals: Proposal) -> Sequence[Outcome]:
        self.calls.clear()
        looked = [await self.committer.look_back(one) for one in proposals]
        return await self.committer.settle(looked, lambda: True)

    async def fill(self, count: int) -> None:
        """So many events, none of which has a tag."""
        await self.append(proposal(*[new_event("filler") for _ in range(count)]))


@pytest.fixture
def replica(store: PostgresEventStore) -> Replica:
    return Replica(store)


@pytest.fixture
def other(store: PostgresEventStore) -> Replica:
    return Replica(store)


def tagged(*tags: str, stream: str = "s") -> NewEvent:
    return new_event(stream, tags=tags)


def unless(event: NewEvent, *wanted: NoMatch) -> Proposal:
    return Proposal([event], wanted)


def positions(outcome: Outcome) -> list[int]:
    assert not isinstance(outcome, Exception), outcome
    return [placement.position for placement in outcome]


def in_the_way(outcome: Outcome) -> int:
    """The position of the event that it was refused for."""
    assert isinstance(outcome, PreconditionFailed), outcome
    assert outcome.violations[0].match is not None
    return outcome.violations[0].match.position


async def test_who_decides_on_what_is_recent_reads_nothing(replica: Replica) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))

    for number in range(1, 4):
        (outcome,) = await replica.append(unless(tagged("x"), no_match("x", after=number)))

        assert positions(outcome) == [number + 1]
        assert replica.calls == ["write"]


async def test_a_tag_that_nobody_has_used_is_in_nobodys_way(replica: Replica) -> None:
    (outcome,) = await replica.append(unless(tagged("name:ada"), no_match("name:ada")))

    assert positions(outcome) == [1]


@pytest.mark.parametrize("filler_count", [0, 3, boundaries.CATCH_UP_MAX + 10])
async def test_what_is_not_recent_is_found_in_the_database(
    replica: Replica, other: Replica, filler_count: int
) -> None:
    await other.append(proposal(tagged("name:ada")))
    if filler_count:
        await other.fill(filler_count)

    refused, placed = await replica.append(
        unless(tagged("name:ada"), no_match("name:ada")),
        unless(tagged("name:bob"), no_match("name:bob")),
    )

    assert in_the_way(refused) == 1
    assert positions(placed) == [filler_count + 2]


async def test_what_another_replica_appended_is_in_the_way(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))
    for head in range(1, 20, 2):
        await other.append(proposal(tagged("x")))

        (refused,) = await replica.append(unless(tagged("x"), no_match("x", after=head)))
        (placed,) = await replica.append(unless(tagged("x"), no_match("x", after=head + 1)))

        assert in_the_way(refused) == head + 1
        assert positions(placed) == [head + 2]


async def test_what_was_appended_between_looking_back_and_deciding_is_in_the_way(
    replica: Replica, other: Replica
) -> None:
    await other.fill(boundaries.CATCH_UP_MAX + 10)
    looked = await replica.committer.look_back(unless(tagged("x"), no_match("x")))
    await other.append(proposal(tagged("x")))
    await other.fill(boundaries.CATCH_UP_MAX + 10)

    (refused,) = await replica.committer.settle([looked], lambda: True)

    assert in_the_way(refused) == boundaries.CATCH_UP_MAX + 11


async def test_an_event_that_came_while_the_batch_was_on_its_way_is_in_the_way(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))

    async def other_is_faster() -> None:
        await other.append(proposal(tagged("x")))

    replica.log.before_write.append(other_is_faster)
    (refused,) = await replica.append(unless(tagged("x"), no_match("x", after=1)))

    assert in_the_way(refused) == 2
    assert replica.calls.count("write") == 1


async def test_a_batch_that_lost_its_place_to_as_many_others_is_in_nobodys_way(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))

    async def other_is_faster() -> None:
        await other.append(proposal(tagged("y")))

    replica.log.before_write.append(other_is_faster)
    (placed,) = await replica.append(unless(tagged("x"), no_match("x", after=1)))

    assert positions(placed) == [3]


async def test_a_batch_that_was_not_written_is_in_nobodys_way(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))
    stored = tagged("y")
    await other.append(proposal(stored))

    # The first attempt names `tagged("x")` before its id is found to be reused.
    reused = new_event("s", content="other", with_id=stored.event_id)
    refused, placed = await replica.append(
        proposal(reused), unless(tagged("x"), no_match("x", after=1))
    )

    assert isinstance(refused, EventIdReused)
    assert positions(placed) == [3]


async def test_of_a_batch_whose_connection_was_lost_only_what_is_stored_is_in_the_way(
    replica: Replica,
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))
    for moment in (replica.log.before_write, replica.log.after_write):
        moment.append(connection_lost)
        head = (await replica.log.state([])).head
        (placed,) = await replica.append(unless(tagged("x"), no_match("x", after=head)))
        assert positions(placed) == [head + 1]
        (refused,) = await replica.append(unless(tagged("x"), no_match("x", after=head)))
        assert in_the_way(refused) == head + 1


async def test_an_append_that_is_repeated_is_told_its_place_though_it_is_in_its_own_way(
    replica: Replica, other: Replica
) -> None:
    again = unless(tagged("name:ada"), no_match("name:ada"))
    await replica.append(again)

    for one in (replica, other):
        (outcome,) = await one.append(again)

        assert not isinstance(outcome, Exception)
        assert [(one.position, one.already_stored) for one in outcome] == [(1, True)]


async def test_a_position_beyond_the_end_is_refused_once_the_end_was_asked_for(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))

    (beyond,) = await replica.append(unless(tagged("x"), no_match("x", after=2)))
    await other.append(proposal(tagged("y")))
    (placed,) = await replica.append(unless(tagged("x"), no_match("x", after=2)))

    assert isinstance(beyond, BeyondEnd)
    assert beyond.metadata["head_position"] == 1
    assert positions(placed) == [3]


async def test_preconditions_of_both_kinds_hold_together(replica: Replica) -> None:
    await replica.append(unless(tagged("x", stream="a"), no_match("x")))
    on_stream = Precondition(StreamName("a"), ABSENT)

    (outcome,) = await replica.append(
        Proposal([tagged("x")], [no_match("x", after=0), on_stream, no_match("y")])
    )

    assert isinstance(outcome, PreconditionFailed)
    assert [one.index for one in outcome.violations] == [0, 1]
    assert [one.read_again for one in outcome.violations] == [True, False]


async def test_events_that_are_gone_are_looked_past_hundreds_at_once(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundaries, "LOOK_BACK_S", 600.0)
    await other.append(proposal(*[tagged("x") for _ in range(2_000)]))
    deletion = StreamChange(StreamName("s"), "user:ada", ending=StreamEnding.DELETED)
    await other.append(Proposal([new_event(RULES_STREAM)], change=deletion))

    (outcome,) = await replica.append(unless(tagged("y"), no_match("x")))

    assert positions(outcome) == [2_002]
    assert replica.calls.count("look") <= 10


def ended(stream: str, ending: StreamEnding) -> Proposal:
    change = StreamChange(StreamName(stream), "user:ada", ending=ending)
    return Proposal([new_event(RULES_STREAM)], change=change)


async def test_what_was_in_the_way_and_is_gone_when_it_is_decided_is_in_nobodys_way(
    replica: Replica, other: Replica
) -> None:
    await other.append(proposal(tagged("x")))
    looked = await replica.committer.look_back(unless(new_event("b"), no_match("x")))
    await other.append(ended("s", StreamEnding.DELETED))

    (outcome,) = await replica.committer.settle([looked], lambda: True)

    assert positions(outcome) == [3]


@pytest.mark.parametrize("read_count", range(4))
async def test_who_is_refused_is_told_what_was_so_at_one_moment(
    replica: Replica, other: Replica, read_count: int
) -> None:
    await replica.append(unless(new_event("c"), no_match("x")))
    await other.append(proposal(tagged("x", stream="a"), tagged("x", stream="b")))

    async def tombstoned() -> None:
        await other.append(ended("a", StreamEnding.TOMBSTONED))

    replica.log.after_state = [*[nothing] * read_count, tombstoned]
    (outcome,) = await replica.append(unless(tagged("x", stream="a"), no_match("x")))

    # Before that the first of both is in the way, and behind it nothing more is appended to `a`.
    assert isinstance(outcome, StreamTombstoned) or in_the_way(outcome) == 2


async def test_looking_back_for_too_long_is_refused_and_keeps_nobody_waiting(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await other.append(proposal(tagged("x")))
    await other.fill(boundaries.CATCH_UP_MAX + 10)
    monkeypatch.setattr(boundaries, "LOOK_BACK_S", -1.0)
    monkeypatch.setattr(boundaries, "DECIDE_S", -1.0)

    costly, mate = await replica.append(
        unless(tagged("y"), no_match("y")), proposal(new_event("b"))
    )

    assert isinstance(costly, PreconditionTooCostly)
    assert costly.metadata["looked_at_position"] == 0
    assert positions(mate) == [boundaries.CATCH_UP_MAX + 12]


async def test_what_was_let_go_meanwhile_is_looked_for_when_it_is_decided(
    store: PostgresEventStore,
) -> None:
    small = Replica(store, RecentEvents(RecentBlocks(block_events_max=2)))
    await small.append(unless(tagged("x"), no_match("x")))
    looked = await small.committer.look_back(unless(tagged("x"), no_match("x", after=1)))
    await small.append(proposal(tagged("x")))
    for _ in range(10):
        await small.fill(2)

    small.calls.clear()
    (refused,) = await small.committer.settle([looked], lambda: True)

    assert in_the_way(refused) == 2
    assert "look" in small.calls


@pytest.mark.parametrize("replica_count", [1, 3])
async def test_of_many_who_want_the_same_name_one_gets_it(
    store: PostgresEventStore, replica_count: int
) -> None:
    replicas = [Replica(store) for _ in range(replica_count)]

    for number in range(20):
        name = f"name:{number}"
        outcomes = await asyncio.gather(
            *[
                one.append(*[unless(tagged(name), no_match(name)) for _ in range(3)])
                for one in replicas
            ]
        )

        flat = [outcome for batch in outcomes for outcome in batch]
        (winner,) = [outcome for outcome in flat if not isinstance(outcome, Exception)]
        assert {in_the_way(one) for one in flat if one is not winner} == {winner[0].position}


async def test_a_batch_that_is_prepared_sees_what_is_on_its_way(replica: Replica) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))
    second = [unless(tagged("x"), no_match("x", after=1))]
    prepared = []

    async def prepare() -> None:
        prepared.append(await replica.committer.prepare(second))

    replica.log.before_write.append(prepare)
    (first,) = await replica.append(unless(tagged("x"), no_match("x", after=1)))
    replica.calls.clear()
    (refused,) = await replica.committer.settle(second, lambda: True, prepared[0])

    assert positions(first) == [2]
    assert in_the_way(refused) == 2


async def test_a_batch_that_was_prepared_on_one_that_failed_is_decided_again(
    replica: Replica, other: Replica
) -> None:
    await replica.append(unless(tagged("x"), no_match("x")))
    second = [unless(tagged("x"), no_match("x", after=2))]
    prepared = []

    async def prepare_and_lose() -> None:
        prepared.append(await replica.committer.prepare(second))
        await other.append(proposal(tagged("x")))

    replica.log.before_write.append(prepare_and_lose)
    (first,) = await replica.append(unless(tagged("x"), no_match("x", after=1)))
    (placed,) = await replica.committer.settle(second, lambda: True, prepared[0])

    assert in_the_way(first) == 2
    assert positions(placed) == [3]


async def test_conditions_that_forbid_each_others_events_let_one_through(
    replica: Replica, other: Replica
) -> None:
    for number in range(10):
        a, b = f"a:{number}", f"b:{number}"

        outcomes = await asyncio.gather(
            replica.append(unless(tagged(a), no_match(b))),
            other.append(unless(tagged(b), no_match(a))),
        )

        won = [one for (one,) in outcomes if not isinstance(one, Exception)]
        assert len(won) == 1


async def test_an_append_of_more_than_a_window_is_in_the_way_as_a_whole(replica: Replica) -> None:
    many = [new_event("s", tags=[f"n:{number}"]) for number in range(5_000)]
    await replica.append(unless(tagged("x"), no_match("x")))
    await replica.append(proposal(*many))

    outcomes = await replica.append(
        *[unless(tagged("x"), no_match(f"n:{number}", after=1)) for number in (0, 2_500, 4_999)]
    )

    assert list(map(in_the_way, outcomes)) == [2, 2_502, 5_001]
    assert Position(5_001) == (await replica.log.state([])).head


def test_recent_events_are_forgotten_with_their_incarnation() -> None:
    recent = RecentEvents(RecentBlocks())
    recent.use()
    remembered = RememberedLog(RevisionCache(), recent)
    remembered.learn(LogState(Position(0), {}, "before"))
    recent.begin(Position(0))
    recent.catch_up([NewLabels(event_id(1), Labels(StreamName("s"), "t", ("x",), ""))])
    remembered.learn(LogState(Position(1), {}, "before"))
    assert recent.since == 0

    remembered.learn(LogState(Position(9), {}, "after"))

    assert recent.since is None


async def test_an_incarnation_is_asked_for_once_however_many_were_decided_in_it(
    replica: Replica,
) -> None:
    decided_in = [replace(no_match(str(number), after=1), read_in="x") for number in range(32)]
    filled = Precondition(StreamName("filler"), Revision(0), read_in="x")
    await replica.fill(1)

    (outcome,) = await replica.append(Proposal([new_event()], [filled, *decided_in]))

    assert isinstance(outcome, LogReplaced)
    # Once each time that it is decided: it is decided again before it is refused.
    assert 1 <= replica.calls.count("shared") < len(decided_in)
    assert "position" not in replica.calls
