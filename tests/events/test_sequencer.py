"""Callers get their own outcome, only after the commit, and nobody else's trouble."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from structlog.testing import capture_logs

from girih.ids import TenantId
from services.events import record
from services.events.appending.committer import Committer, CommitterLimits
from services.events.appending.remembered import RevisionCache
from services.events.appending.sequencer import SequencerLimits, Sequencers
from services.events.domain import Placement, Proposal
from services.events.errors import (
    AppendQueueFull,
    EventIdReused,
    PreconditionFailed,
)
from services.events.postgres.store import PostgresEventStore
from services.events.reading.reader import Reader, ReadOptions
from services.events.reading.send_budget import SendBudget
from services.plumbing.errors import ShuttingDown
from tests.events.counting import Counts
from tests.events.failing import FailingLog, Moment
from tests.events.making import ABSENT, new_event, parsed, proposal, records_in
from tests.events.serving import eventually

TENANT = TenantId("acme")


class Gate:
    """Holds writes back until it opens."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()
        self.opens = asyncio.Event()

    async def __call__(self) -> None:
        self.is_reached.set()
        await self.opens.wait()


class Bench:
    """Sequencers on real logs whose writes can be made to fail or wait."""

    def __init__(self, store: PostgresEventStore, limits: SequencerLimits) -> None:
        self.store = store
        self.revision_cache = RevisionCache()
        self.counts = Counts()
        self.logs: dict[str, FailingLog] = {}
        self.before_write: list[Moment] = []
        self.sequencers = Sequencers(self._committer, self.counts, limits)

    def _committer(self, tenant: TenantId) -> Committer:
        log = self.logs[tenant] = FailingLog(self.store.log(tenant))
        log.before_write = self.before_write
        return Committer(
            log, record.encoder_at, self.counts, CommitterLimits(), self.revision_cache
        )

    def start(self, *proposals: Proposal) -> list["asyncio.Task[Sequence[Placement]]"]:
        return [
            asyncio.create_task(_append(self.sequencers, TENANT, appended))
            for appended in proposals
        ]

    async def stored_ids(self, tenant: TenantId = TENANT) -> list[str]:
        reader = Reader(self.store, SendBudget(2**26))
        groups = [group.fields async for group in reader.read(tenant, ReadOptions())]
        return [one.event.id for group in groups for one in parsed(records_in(group))]


async def _append(
    sequencers: Sequencers, tenant: TenantId, appended: Proposal
) -> Sequence[Placement]:
    return await sequencers.append(tenant, appended)


@pytest.fixture
def limits() -> SequencerLimits:
    return SequencerLimits()


@pytest.fixture
async def bench(store: PostgresEventStore, limits: SequencerLimits) -> AsyncIterator[Bench]:
    bench = Bench(store, limits)
    yield bench
    await bench.sequencers.close()


async def test_what_gathers_while_a_batch_is_written_is_written_together(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    first = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()

    rest = bench.start(*[proposal(new_event("a")) for _ in range(50)])
    await asyncio.sleep(0)
    gate.opens.set()
    await asyncio.gather(*first, *rest)

    assert bench.counts.batches == [1, 50]
    assert bench.counts.queued_now == 0


async def test_answers_nobody_before_the_commit(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    (append,) = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()

    await asyncio.sleep(0.05)
    assert not append.done()
    assert (await bench.store.end(TENANT)).head == 0

    gate.opens.set()
    await append
    assert (await bench.store.end(TENANT)).head == 1


async def test_a_batch_is_bounded_in_events(store: PostgresEventStore) -> None:
    bench = Bench(store, SequencerLimits(batch_weight=10))
    two = [proposal(new_event("a"), new_event("a")) for _ in range(12)]

    await asyncio.gather(*bench.start(*two, proposal(*[new_event("b") for _ in range(15)])))

    assert bench.counts.batches == [10, 10, 4, 15]


async def test_a_batch_is_bounded_in_bytes(store: PostgresEventStore) -> None:
    bench = Bench(store, SequencerLimits(batch_bytes=25_000))
    large = [proposal(new_event("a", content="x" * 10_000)) for _ in range(5)]

    await asyncio.gather(*bench.start(*large))

    assert bench.counts.batches == [2, 2, 1]


async def test_preconditions_count_for_a_batch(store: PostgresEventStore) -> None:
    bench = Bench(store, SequencerLimits(batch_weight=10))
    wide = [
        proposal(new_event("a"), expecting={f"s-{number}": ABSENT for number in range(7)})
        for _ in range(2)
    ]

    await asyncio.gather(*bench.start(*wide))

    assert bench.counts.batches == [1, 1]


@pytest.mark.parametrize(
    "limits",
    [
        SequencerLimits(queue_weight=3),
        SequencerLimits(queue_bytes=500),
        SequencerLimits(total_bytes=700),
    ],
    ids=["events", "bytes", "bytes of all logs"],
)
async def test_refuses_what_would_make_the_queue_too_long(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    started = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()

    crowd = bench.start(*[proposal(new_event("a", content="x" * 50)) for _ in range(20)])
    await asyncio.sleep(0)
    gate.opens.set()
    outcomes = await asyncio.gather(*crowd, return_exceptions=True)

    refused = [one for one in outcomes if isinstance(one, AppendQueueFull)]
    assert 0 < len(refused) < 20
    assert all(one.retry_after_s for one in refused)
    await asyncio.gather(*started)
    assert (await bench.store.end(TENANT)).head == 21 - len(refused)


@pytest.mark.parametrize("limits", [SequencerLimits(queue_bytes=1_000)])
async def test_the_streams_of_preconditions_count_for_the_queue(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    started = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()

    wide = [proposal(new_event("a"), expecting={"s" * 255: ABSENT}) for _ in range(5)]
    crowd = bench.start(*wide)
    await asyncio.sleep(0)
    gate.opens.set()
    outcomes = await asyncio.gather(*started, *crowd, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes[-2:]] == [AppendQueueFull] * 2


async def test_a_caller_that_leaves_while_it_waits_is_not_appended(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    started = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()
    leaving, staying = bench.start(proposal(new_event("a")), proposal(new_event("a")))
    await asyncio.sleep(0)

    leaving.cancel()
    gate.opens.set()
    await asyncio.gather(*started, staying)

    assert bench.counts.batches == [1, 1]
    assert bench.counts.queued_now == 0


async def test_a_caller_that_leaves_does_not_end_the_batch_it_is_in(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    leaving, staying = bench.start(proposal(new_event("a")), proposal(new_event("a")))
    await gate.is_reached.wait()

    leaving.cancel()
    await asyncio.wait([leaving])
    gate.opens.set()

    (place,) = await staying
    assert (place.position, place.revision) == (2, 1)
    assert (await bench.store.end(TENANT)).head == 2


async def test_a_storm_of_leaving_callers_loses_nothing_that_was_acknowledged(
    bench: Bench,
) -> None:
    dice = random.Random(7)
    acknowledged: dict[str, int] = {}

    async def caller(number: int) -> None:
        for _ in range(15):
            event = new_event(f"s-{number % 7}")
            try:
                async with asyncio.timeout(dice.choice([0.0005, 0.002, 0.005, 1.0])):
                    (place,) = await bench.sequencers.append(TENANT, proposal(event))
            except TimeoutError:
                continue
            acknowledged[event.event_id] = place.position

    await asyncio.gather(*[caller(number) for number in range(40)])
    await bench.sequencers.close()

    stored = await bench.stored_ids()
    assert len(acknowledged) > 100
    assert len(set(stored)) == len(stored)
    assert {stored[position - 1] for position in acknowledged.values()} == set(acknowledged)


async def test_one_bad_append_in_many_disturbs_no_other(bench: Bench) -> None:
    first = new_event("a", content="one")
    await bench.sequencers.append(TENANT, proposal(first))
    good = [proposal(new_event(f"s-{number}")) for number in range(30)]
    reused = proposal(new_event("a", content="two", with_id=first.event_id))
    failing = proposal(new_event("b"), expecting={"a": ABSENT})

    outcomes = await asyncio.gather(
        *bench.start(*good[:15], reused, *good[15:], failing), return_exceptions=True
    )

    assert isinstance(outcomes.pop(15), EventIdReused)
    assert isinstance(outcomes.pop(), PreconditionFailed)
    positions = [places[0].position for places in outcomes if not isinstance(places, BaseException)]
    assert positions == list(range(2, 32))


async def test_what_the_database_refuses_harms_only_the_one_who_sent_it(bench: Bench) -> None:
    poison = new_event("a")._replace(digest=b"too short")

    outcomes = await asyncio.gather(
        *bench.start(proposal(new_event("a")), proposal(poison), proposal(new_event("a"))),
        return_exceptions=True,
    )

    assert [type(outcome).__name__ for outcome in outcomes] == [
        "list",
        "CheckViolationError",
        "list",
    ]
    assert (await bench.store.end(TENANT)).head == 2


async def test_a_bug_is_logged_though_its_caller_has_gone(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    (leaving,) = bench.start(proposal(new_event("a")._replace(digest=b"too short")))
    await gate.is_reached.wait()

    leaving.cancel()
    await asyncio.wait([leaving])
    with capture_logs() as logged:
        gate.opens.set()
        await bench.sequencers.close()

    (line,) = logged
    assert line["event"] == "an append failed unexpectedly"
    assert isinstance(line["exc_info"], asyncpg.CheckViolationError)


async def test_logs_of_two_tenants_do_not_wait_for_each_other(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    (reserved,) = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()

    (place,) = await bench.sequencers.append(TenantId("globex"), proposal(new_event("a")))

    assert (place.position, place.revision) == (1, 0)
    assert not reserved.done()
    gate.opens.set()
    await reserved


async def test_forgets_logs_that_nobody_appends_to(store: PostgresEventStore) -> None:
    bench = Bench(store, SequencerLimits(log_count=2))

    for tenant in ("one", "two", "three", "one"):
        await bench.sequencers.append(TenantId(tenant), proposal(new_event("a")))

    assert (await bench.store.end(TenantId("one"))).head == 2
    assert len(bench.sequencers._sequencers) == 2
    assert bench.revision_cache._stream_count == 2


async def test_closing_lets_the_running_batch_end_and_refuses_the_rest(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    (running,) = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()
    (waiting,) = bench.start(proposal(new_event("a")))
    await asyncio.sleep(0)

    closing = asyncio.create_task(bench.sequencers.close())
    with pytest.raises(ShuttingDown):
        await waiting
    gate.opens.set()
    await closing

    assert (await running)[0].position == 1
    with pytest.raises(ShuttingDown):
        await bench.sequencers.append(TENANT, proposal(new_event("a")))


async def test_a_drain_that_is_cancelled_tells_its_callers(bench: Bench) -> None:
    gate = Gate()
    bench.before_write.append(gate)
    callers = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()
    callers += bench.start(proposal(new_event("a")))
    await asyncio.sleep(0)

    (drain,) = [task for task in asyncio.all_tasks() if task.get_name() == "sequencer"]
    drain.cancel()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ShuttingDown] * 2

    async def is_idle() -> bool:
        return bench.sequencers._sequencers[TENANT].is_idle

    await eventually(is_idle)
    assert (await bench.sequencers.append(TENANT, proposal(new_event("a"))))[0].position == 1


async def test_callers_that_arrive_right_after_each_other_share_a_batch(bench: Bench) -> None:
    async def arrive_after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.sequencers.append(TENANT, proposal(new_event("a")))

    await asyncio.gather(*[arrive_after(turns) for turns in range(8)])

    assert bench.counts.batches == [8]


@pytest.mark.parametrize(("count", "together"), [(64, 32), (24, 24)])
async def test_half_of_many_callers_do_not_wait_for_the_other_half(
    bench: Bench, count: int, together: int
) -> None:
    async def arrive_after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.sequencers.append(TENANT, proposal(new_event("a")))

    await asyncio.gather(*bench.start(*[proposal(new_event("a")) for _ in range(count)]))
    await asyncio.gather(*[arrive_after(turns) for turns in range(count)])

    assert bench.counts.batches[:2] == [count, together]


async def prepared_behind_a_gate(
    bench: Bench, *waiting: Proposal
) -> tuple[Gate, list["asyncio.Task[Sequence[Placement]]"]]:
    """An append that is held back, and others that are prepared behind it."""
    gate = Gate()
    bench.before_write.append(gate)
    callers = bench.start(proposal(new_event("a")))
    await gate.is_reached.wait()
    callers += bench.start(*waiting)

    async def is_prepared() -> bool:
        # The stream of the first, and then those of the others.
        return bench.logs[TENANT].calls.count("state") == 2

    await eventually(is_prepared)
    return gate, callers


@pytest.mark.parametrize("limits", [SequencerLimits(batch_weight=3)])
async def test_what_is_worth_a_commit_is_prepared_while_another_is_written(bench: Bench) -> None:
    gate, callers = await prepared_behind_a_gate(
        bench, *[proposal(new_event("b")) for _ in range(4)]
    )

    assert not any(caller.done() for caller in callers)
    gate.opens.set()

    placed = [place for places in await asyncio.gather(*callers) for place in places]
    assert [place.position for place in placed] == [1, 2, 3, 4, 5]
    assert bench.logs[TENANT].calls == ["state", "write", "state", "write", "write"]
    assert bench.counts.batches == [1, 3, 1]


@pytest.mark.parametrize("limits", [SequencerLimits(batch_weight=3)])
async def test_a_caller_that_leaves_when_its_append_is_prepared_is_not_appended(
    bench: Bench,
) -> None:
    gate, callers = await prepared_behind_a_gate(
        bench, *[proposal(new_event("b")) for _ in range(3)]
    )

    callers[2].cancel()
    gate.opens.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    positions = [one[0].position for one in outcomes if not isinstance(one, BaseException)]
    assert positions == [1, 2, 3]
    assert (await bench.store.end(TENANT)).head == 3


@pytest.mark.parametrize("limits", [SequencerLimits(batch_weight=3)])
async def test_closing_refuses_what_is_prepared(bench: Bench) -> None:
    gate, callers = await prepared_behind_a_gate(
        bench, *[proposal(new_event("b")) for _ in range(3)]
    )

    closing = asyncio.create_task(bench.sequencers.close())
    await asyncio.sleep(0)
    gate.opens.set()
    await closing
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert [type(one).__name__ for one in outcomes] == ["list", *["ShuttingDown"] * 3]
    assert (await bench.store.end(TENANT)).head == 1


@pytest.mark.parametrize("limits", [SequencerLimits(batch_weight=3)])
async def test_what_is_behind_a_bad_append_is_settled_behind_its_batch_mates(
    bench: Bench,
) -> None:
    """Batch-mates of an append that cannot be stored are settled one by one, each of which what is
    prepared behind them must not be taken for.
    """
    poison = proposal(new_event("a")._replace(digest=b"too short"))
    good = [proposal(new_event("a")) for _ in range(5)]

    outcomes = await asyncio.gather(
        *bench.start(good[0], poison, good[1], *good[2:]), return_exceptions=True
    )

    assert type(outcomes.pop(1)).__name__ == "CheckViolationError"
    positions = [one[0].position for one in outcomes if not isinstance(one, BaseException)]
    assert positions == [1, 2, 3, 4, 5]
