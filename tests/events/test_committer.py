"""Batches are settled rightly whatever happens to the connection and whoever else writes."""

import asyncio
from collections.abc import Sequence

import pytest

from girih.ids import TenantId
from services.events import record
from services.events.appending.committer import (
    ALL_NEW_MIN,
    LOST_RACES_MAX,
    Committer,
    CommitterLimits,
)
from services.events.appending.remembered import RevisionCache
from services.events.domain import Outcome, Placement, Proposal
from services.events.errors import EventIdReused, PreconditionFailed
from services.events.postgres.store import PostgresEventStore
from services.events.settings import Settings
from services.plumbing.errors import DatabaseUnavailable, ResourceExhausted, Unavailable
from tests.events.counting import Counts
from tests.events.failing import FailingLog, connection_lost
from tests.events.making import ABSENT, new_event, proposal
from tests.events.serving import opened, store_of

TENANT = TenantId("acme")


class Bench:
    """A committer on a log that can be made to fail, and a second one as another replica."""

    def __init__(
        self,
        store: PostgresEventStore,
        revision_cache: RevisionCache | None = None,
        **limits: float,
    ) -> None:
        self.store = store
        self.revision_cache = revision_cache or RevisionCache()
        self.counts = Counts()
        self.log = FailingLog(store.log(TENANT))
        settled = CommitterLimits(retry_delay_min_s=0.001, **limits)
        self.committer = Committer(
            self.log, record.encoder_at, self.counts, settled, self.revision_cache
        )
        self.other = Committer(
            store.log(TENANT), record.encoder_at, Counts(), settled, RevisionCache()
        )

    async def settle(self, *proposals: Proposal) -> Sequence[Outcome]:
        self.log.calls.clear()
        return await self.committer.settle(proposals, is_wanted=lambda: True)

    async def other_appends(self, *proposals: Proposal) -> None:
        await self.other.settle(proposals or [proposal(new_event("other"))], lambda: True)


@pytest.fixture
def bench(store: PostgresEventStore) -> Bench:
    return Bench(store)


def places(outcome: Outcome) -> list[tuple[int, int, bool]]:
    assert not isinstance(outcome, Exception)
    return [(place.position, place.revision, place.already_stored) for place in outcome]


async def test_reads_the_state_once_and_then_only_writes(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))
    assert bench.log.calls == ["state", "write"]

    await bench.settle(proposal(new_event("a")))
    assert bench.log.calls == ["write"]


async def test_reads_only_the_state_of_streams_it_does_not_remember(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))

    assert places((await bench.settle(proposal(new_event("b"), new_event("a"))))[0]) == [
        (2, 0, False),
        (3, 1, False),
    ]
    assert bench.log.calls == ["state", "write"]


async def test_forgets_the_streams_longest_unused(store: PostgresEventStore) -> None:
    bench = Bench(store, RevisionCache(stream_count_max=2))
    for stream in ("a", "b", "a", "c"):
        await bench.settle(proposal(new_event(stream)))

    assert places((await bench.settle(proposal(new_event("a"))))[0]) == [(5, 2, False)]
    assert bench.log.calls == ["write"]
    assert places((await bench.settle(proposal(new_event("b"))))[0]) == [(6, 1, False)]
    assert bench.log.calls == ["state", "write"]


async def test_logs_share_what_is_remembered_and_the_longest_unused_forgets_first(
    store: PostgresEventStore,
) -> None:
    revision_cache = RevisionCache(stream_count_max=3)
    idle, busy = Bench(store, revision_cache), Bench(store, revision_cache)
    busy.log = FailingLog(store.log(TenantId("globex")))
    busy.committer = Committer(
        busy.log, record.encoder_at, busy.counts, CommitterLimits(), revision_cache
    )
    await idle.settle(proposal(new_event("a"), new_event("b")))
    await busy.settle(proposal(new_event("a"), new_event("b")))

    await busy.settle(proposal(new_event("a"), new_event("b")))
    assert busy.log.calls == ["write"]
    assert places((await idle.settle(proposal(new_event("a"))))[0]) == [(3, 1, False)]
    assert idle.log.calls == ["state", "write"]


async def test_what_is_forgotten_while_it_reads_is_read_again(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))

    async def another_log_evicts_it() -> None:
        bench.committer.forget()

    bench.log.before_state = [another_log_evicts_it]
    (outcome,) = await bench.settle(proposal(new_event("a"), new_event("b")))

    assert places(outcome) == [(2, 1, False), (3, 0, False)]


async def test_decides_again_when_another_process_appended_first(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))
    await bench.other_appends(proposal(new_event("a")))

    (outcome,) = await bench.settle(proposal(new_event("a")))

    assert places(outcome) == [(3, 2, False)]
    assert bench.counts.races_lost == 1


async def test_takes_its_turn_by_lock_when_it_keeps_losing(bench: Bench) -> None:
    bench.log.before_write = [bench.other_appends] * 100

    (outcome,) = await bench.settle(proposal(new_event("a")))

    assert places(outcome) == [(LOST_RACES_MAX + 1, 0, False)]
    assert bench.counts.races_lost == LOST_RACES_MAX
    assert bench.log.calls[-1] == "lock"


async def test_a_refusal_is_told_on_the_state_as_it_is_and_not_as_remembered(
    bench: Bench,
) -> None:
    await bench.settle(proposal(new_event("a")))
    await bench.other_appends(proposal(new_event("a")))

    (outcome,) = await bench.settle(proposal(new_event("a"), expecting={"a": 1}))

    assert places(outcome) == [(3, 2, False)]


async def test_a_refusal_tells_the_revision_as_it_is(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))
    await bench.other_appends(proposal(new_event("a")))

    (outcome,) = await bench.settle(proposal(new_event("a"), expecting={"a": 7}))

    assert isinstance(outcome, PreconditionFailed)
    assert outcome.violations[0].actual_revision == 1


async def test_a_repeated_append_is_told_its_first_places(bench: Bench) -> None:
    events = [new_event("a"), new_event("b")]
    await bench.settle(proposal(*events, expecting={"a": ABSENT}))
    await bench.settle(proposal(new_event("a")))

    (outcome,) = await bench.settle(proposal(*events, expecting={"a": ABSENT}))

    assert places(outcome) == [(1, 0, True), (2, 0, True)]


async def test_only_what_is_new_of_a_mixed_append_is_stored(bench: Bench) -> None:
    old, new = new_event("a"), new_event("a")
    await bench.settle(proposal(old))

    (outcome,) = await bench.settle(proposal(new, old))

    assert places(outcome) == [(2, 1, False), (1, 0, True)]
    assert (await bench.store.end(TENANT)).head == 2


async def test_an_id_with_other_content_is_refused_and_its_batch_mates_are_not(
    bench: Bench,
) -> None:
    event = new_event("a", content="one")
    await bench.settle(proposal(event))

    outcomes = await bench.settle(
        proposal(new_event("b")),
        proposal(new_event("a", content="two", with_id=event.event_id)),
        proposal(new_event("b")),
    )

    assert places(outcomes[0]) == [(2, 0, False)]
    assert isinstance(outcomes[1], EventIdReused)
    assert outcomes[1].event_ids == (event.event_id,)
    assert places(outcomes[2]) == [(3, 1, False)]


async def test_looks_ids_up_first_while_callers_repeat_themselves(bench: Bench) -> None:
    events = [new_event("a") for _ in range(3)]
    for event in events:
        await bench.settle(proposal(event))

    await bench.settle(proposal(events[0]))
    assert bench.log.calls == ["write", "find"]
    await bench.settle(proposal(events[1]))
    assert bench.log.calls == ["find"]
    await bench.settle(proposal(new_event("a")))
    assert bench.log.calls == ["find", "write"]
    await bench.settle(proposal(new_event("a")))
    assert bench.log.calls == ["write"]


async def only_new_streams_come(bench: Bench) -> None:
    """`old` is in the log and forgotten, and all that came since was new."""
    await bench.settle(proposal(new_event("old")))
    for number in range(ALL_NEW_MIN):
        await bench.settle(proposal(new_event(f"new-{number}")))


@pytest.fixture
def forgetful(store: PostgresEventStore) -> Bench:
    """Remembers a single stream."""
    return Bench(store, RevisionCache(stream_count_max=1))


async def test_reads_no_streams_while_all_turn_out_to_be_new(forgetful: Bench) -> None:
    await only_new_streams_come(forgetful)

    (outcome,) = await forgetful.settle(proposal(new_event("a"), expecting={"a": ABSENT}))

    assert places(outcome) == [(ALL_NEW_MIN + 2, 0, False)]
    assert forgetful.log.calls == ["write"]


async def test_a_stream_taken_for_new_that_is_there_is_read(forgetful: Bench) -> None:
    await only_new_streams_come(forgetful)

    (outcome,) = await forgetful.settle(proposal(new_event("old"), new_event("b")))

    assert places(outcome) == [(ALL_NEW_MIN + 2, 1, False), (ALL_NEW_MIN + 3, 0, False)]
    assert forgetful.log.calls == ["write", "state", "write"]
    await forgetful.settle(proposal(new_event("c")))
    assert forgetful.log.calls == ["state", "write"]


async def test_a_stream_that_gets_no_event_is_not_taken_for_new(forgetful: Bench) -> None:
    await only_new_streams_come(forgetful)

    (outcome,) = await forgetful.settle(proposal(new_event("a"), expecting={"old": ABSENT}))

    assert isinstance(outcome, PreconditionFailed)


async def test_a_stream_whose_event_is_refused_is_not_taken_for_new(forgetful: Bench) -> None:
    await only_new_streams_come(forgetful)
    event = new_event("a")

    outcomes = await forgetful.settle(
        proposal(event),
        proposal(new_event("old", with_id=event.event_id)),
        proposal(new_event("a"), expecting={"old": ABSENT}),
    )

    assert isinstance(outcomes[1], EventIdReused)
    assert isinstance(outcomes[2], PreconditionFailed)


async def test_a_refusal_is_not_told_of_a_stream_taken_for_new(forgetful: Bench) -> None:
    await only_new_streams_come(forgetful)

    (outcome,) = await forgetful.settle(proposal(new_event("old"), expecting={"old": 0}))

    assert places(outcome) == [(ALL_NEW_MIN + 2, 1, False)]


async def test_a_write_whose_answer_was_lost_is_found_and_not_repeated(bench: Bench) -> None:
    bench.log.after_write = [connection_lost]

    outcomes = await bench.settle(
        proposal(new_event("a"), new_event("a")), proposal(new_event("b"))
    )

    assert [places(outcome) for outcome in outcomes] == [
        [(1, 0, False), (2, 1, False)],
        [(3, 0, False)],
    ]
    assert (await bench.store.end(TENANT)).head == 3


async def test_a_write_that_never_arrived_is_repeated(bench: Bench) -> None:
    bench.log.before_write = [connection_lost, connection_lost]

    (outcome,) = await bench.settle(proposal(new_event("a")))

    assert places(outcome) == [(1, 0, False)]
    assert bench.counts.away == 2


async def test_a_batch_that_never_arrived_is_not_taken_for_written_when_a_part_of_it_is(
    bench: Bench,
) -> None:
    repeated, lost = proposal(new_event("a")), proposal(new_event("b"))

    async def repeated_elsewhere() -> None:
        await bench.other_appends(repeated)
        await connection_lost()

    bench.log.before_write = [repeated_elsewhere]

    outcomes = await bench.settle(repeated, lost)

    assert [places(outcome) for outcome in outcomes] == [[(1, 0, True)], [(2, 0, False)]]
    assert (await bench.store.end(TENANT)).head == 2


async def test_a_refusal_beside_a_write_whose_answer_was_lost_stays_a_refusal(
    bench: Bench,
) -> None:
    bench.log.after_write = [connection_lost]

    outcomes = await bench.settle(
        proposal(new_event("a")), proposal(new_event("a"), expecting={"a": ABSENT})
    )

    assert places(outcomes[0]) == [(1, 0, False)]
    assert isinstance(outcomes[1], PreconditionFailed)


async def test_gives_up_when_the_database_stays_away(store: PostgresEventStore) -> None:
    bench = Bench(store, retry_budget_s=0.05)
    bench.log.before_write = [connection_lost] * 1_000

    with pytest.raises(DatabaseUnavailable):
        await bench.settle(proposal(new_event("a")))

    bench.log.before_write.clear()
    assert places((await bench.settle(proposal(new_event("a"))))[0]) == [(1, 0, False)]


async def test_gives_up_at_once_when_nobody_waits_for_the_outcome(bench: Bench) -> None:
    bench.log.before_write = [connection_lost] * 1_000

    with pytest.raises(DatabaseUnavailable):
        await bench.committer.settle([proposal(new_event("a"))], is_wanted=lambda: False)

    assert bench.log.calls.count("write") == 1


async def test_many_replicas_give_out_each_revision_once(store: PostgresEventStore) -> None:
    """Five writers, each a replica, want the same revision, forty times over."""
    replicas = [
        Committer(
            store.log(TENANT), record.encoder_at, Counts(), CommitterLimits(), RevisionCache()
        )
        for _ in range(5)
    ]
    for revision in range(40):
        expecting = {"hot": revision - 1 if revision else ABSENT}
        contenders = [proposal(new_event("hot"), expecting=expecting) for _ in replicas]

        outcomes = await asyncio.gather(
            *[
                replica.settle([contender], lambda: True)
                for replica, contender in zip(replicas, contenders, strict=True)
            ]
        )

        won = [outcome for (outcome,) in outcomes if not isinstance(outcome, Exception)]
        assert [places(outcome) for outcome in won] == [[(revision + 1, revision, False)]]
        lost = [outcome for (outcome,) in outcomes if isinstance(outcome, PreconditionFailed)]
        assert {one.violations[0].actual_revision for one in lost} == {revision}


async def test_many_replicas_fill_the_log_without_gaps(store: PostgresEventStore) -> None:
    replicas = [
        Committer(
            store.log(TENANT), record.encoder_at, Counts(), CommitterLimits(), RevisionCache()
        )
        for _ in range(5)
    ]

    async def append(replica: Committer, name: str) -> list[Placement]:
        placed: list[Placement] = []
        for number in range(20):
            batch = [proposal(new_event("shared"), new_event(f"{name}-{number}"))] * 1
            (outcome,) = await replica.settle(batch, lambda: True)
            assert not isinstance(outcome, Exception)
            placed += outcome
        return placed

    placed = await asyncio.gather(
        *[append(replica, f"own-{number}") for number, replica in enumerate(replicas)]
    )

    every = [place for places_ in placed for place in places_]
    assert sorted(place.position for place in every) == list(range(1, 201))
    shared = [place for places_ in placed for place in places_[::2]]
    assert sorted(place.revision for place in shared) == list(range(100))
    assert (await store.end(TENANT)).head == 200


async def test_a_process_that_stops_while_it_has_the_lock_is_not_waited_for(
    settings: Settings,
) -> None:
    impatient = settings.model_copy(update={"idle_transaction_timeout_s": 0.3})
    async with opened(impatient) as database:
        bench = Bench(store_of(database))
        await bench.settle(proposal(new_event("a")))

        outcomes: list[Outcome] = []

        async def stop_with_the_lock() -> None:
            async with bench.store.log(TENANT).locked() as stopped:
                outcomes.extend(await bench.settle(proposal(new_event("a"))))
                await stopped.state([])

        with pytest.raises((Unavailable, ResourceExhausted)):
            await stop_with_the_lock()

    assert [places(outcome) for outcome in outcomes] == [[(2, 1, False)]]
