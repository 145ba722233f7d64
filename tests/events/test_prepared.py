"""A batch prepared while another is on its way comes to what it would have come to after it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest

from girih.ids import TenantId
from services.events import record
from services.events.appending.committer import Committer, CommitterLimits, Prepared
from services.events.appending.remembered import RevisionCache
from services.events.domain import Outcome, Proposal
from services.events.errors import PreconditionFailed
from services.events.postgres.store import PostgresEventStore
from services.plumbing.errors import DatabaseUnavailable
from tests.events.counting import Counts
from tests.events.failing import FailingLog, Moment, connection_lost, nothing
from tests.events.making import ABSENT, new_event, proposal
from tests.events.serving import eventually

TENANT = TenantId("acme")
Failure = Callable[["Bench"], Moment]


class Bench:
    """A committer that prepares one batch while it writes another, and a second replica."""

    def __init__(self, store: PostgresEventStore, database_url: str) -> None:
        self.store = store
        self.database_url = database_url
        self.log = FailingLog(store.log(TENANT))
        self.revision_cache = RevisionCache()
        self.committer = Committer(
            self.log,
            record.encoder_at,
            Counts(),
            CommitterLimits(retry_delay_min_s=0.001, retry_budget_s=0.2),
            self.revision_cache,
        )
        self.other = Committer(
            store.log(TENANT), record.encoder_at, Counts(), CommitterLimits(), RevisionCache()
        )

    async def settle(
        self, *proposals: Proposal, prepared: Prepared | None = None
    ) -> Sequence[Outcome]:
        return await self.committer.settle(proposals, lambda: True, prepared)

    async def other_appends(self, *proposals: Proposal) -> None:
        await self.other.settle(proposals, lambda: True)

    async def settle_after(
        self, first: Sequence[Proposal], second: Sequence[Proposal], *, then: Moment = nothing
    ) -> tuple[Sequence[Outcome] | BaseException, Sequence[Outcome]]:
        """Settle `first`, before whose writing `second` is prepared and `then` happens, and
        `second` as it was prepared.
        """
        prepared: list[Prepared | None] = []

        async def prepare() -> None:
            prepared.append(await self.committer.prepare(second))
            self.prepared_calls = list(self.log.calls)
            await then()

        self.log.calls.clear()
        self.log.before_write.append(prepare)
        (first_outcomes,) = await asyncio.gather(self.settle(*first), return_exceptions=True)
        self.first_calls = list(self.log.calls)
        self.log.before_write.clear()
        self.log.calls.clear()
        assert prepared[0] is not None
        return first_outcomes, await self.settle(*second, prepared=prepared[0])

    async def ids(self) -> list[str]:
        """Those of the log, in its order."""
        connection = await asyncpg.connect(self.database_url)
        rows = await connection.fetch("SELECT event_id FROM events.records ORDER BY position")
        await connection.close()
        return [str(row["event_id"]) for row in rows]


@pytest.fixture
def bench(store: PostgresEventStore, database_url: str) -> Bench:
    return Bench(store, database_url)


def places(outcome: Outcome) -> list[tuple[int, int, bool]]:
    assert not isinstance(outcome, Exception)
    return [(place.position, place.revision, place.already_stored) for place in outcome]


async def test_is_written_as_it_was_prepared(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))

    _, (outcome,) = await bench.settle_after(
        [proposal(new_event("a"))], [proposal(new_event("a"), expecting={"a": 1})]
    )

    assert places(outcome) == [(3, 2, False)]
    assert bench.log.calls == ["write"]


@pytest.mark.parametrize(("bytes_max", "is_encoded"), [(2**20, True), (0, False)])
async def test_is_encoded_before_its_turn_unless_it_is_large(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, bytes_max: int, *, is_encoded: bool
) -> None:
    monkeypatch.setattr("services.events.appending.committer._AHEAD_BYTES_MAX", bytes_max)
    await bench.settle(proposal(new_event("a")))
    prepared: list[Prepared | None] = []

    async def prepare() -> None:
        prepared.append(await bench.committer.prepare([proposal(new_event("a"))]))

    bench.log.before_write.append(prepare)
    await bench.settle(proposal(new_event("a")))

    assert prepared[0] is not None
    assert (prepared[0].batch.encoded is not None) is is_encoded


async def test_is_not_prepared_while_nothing_is_on_its_way(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))

    assert await bench.committer.prepare([proposal(new_event("a"))]) is None


async def test_reads_streams_that_are_not_remembered_ahead(bench: Bench) -> None:
    await bench.other_appends(proposal(new_event("b")))
    await bench.settle(proposal(new_event("a")))

    _, (outcome,) = await bench.settle_after(
        [proposal(new_event("a"))], [proposal(new_event("b"), new_event("a"))]
    )

    assert places(outcome) == [(4, 1, False), (5, 2, False)]
    assert bench.prepared_calls[-1] == "state"
    assert bench.log.calls == ["write"]


async def test_streams_forgotten_while_they_move_are_as_they_will_be(bench: Bench) -> None:
    await bench.settle(proposal(new_event("a")))

    prepared: list[Prepared | None] = []
    second = proposal(new_event("a"))

    async def forgotten() -> None:
        bench.committer.forget()
        prepared.append(await bench.committer.prepare([second]))

    bench.log.before_write.append(forgotten)
    await bench.settle(proposal(new_event("a")))

    (outcome,) = await bench.settle(second, prepared=prepared[0])

    assert places(outcome) == [(3, 2, False)]


async def test_repeats_of_what_is_on_its_way_are_told_its_places(bench: Bench) -> None:
    event = new_event("a")

    _, outcomes = await bench.settle_after(
        [proposal(event, expecting={"a": ABSENT})],
        [proposal(event, expecting={"a": ABSENT}), proposal(new_event("a"))],
    )

    assert [places(outcome) for outcome in outcomes] == [[(1, 0, True)], [(2, 1, False)]]


async def test_a_refusal_of_what_will_be_is_told_with_what_is_written(bench: Bench) -> None:
    _, outcomes = await bench.settle_after(
        [proposal(new_event("a"))],
        [proposal(new_event("b"), expecting={"a": ABSENT}), proposal(new_event("b"))],
    )

    assert isinstance(outcomes[0], PreconditionFailed)
    assert outcomes[0].violations[0].actual_revision == 0
    assert places(outcomes[1]) == [(2, 0, False)]
    assert bench.log.calls == ["write"]


async def test_a_refusal_alone_is_told_on_the_state_as_it_is(bench: Bench) -> None:
    """Another replica may have appended before the call came, and after the first batch."""

    async def other_appends_behind() -> None:
        await bench.other_appends(proposal(new_event("a")))

    bench.log.after_write.append(other_appends_behind)

    _, (outcome,) = await bench.settle_after(
        [proposal(new_event("a"))], [proposal(new_event("b"), expecting={"a": 1})]
    )

    assert places(outcome) == [(3, 0, False)]


def head_moved(bench: Bench) -> Moment:
    async def moment() -> None:
        await bench.other_appends(proposal(new_event("other")))

    return moment


def head_moved_as_far(bench: Bench) -> Moment:
    """Another replica appends as many events as are on their way."""

    async def moment() -> None:
        await bench.other_appends(proposal(new_event("other"), new_event("a")))

    return moment


def away_for_good(bench: Bench) -> Moment:
    async def moment() -> None:
        bench.log.before_write += [connection_lost] * 10_000
        await connection_lost()

    return moment


def refused_as_a_bug(_: Bench) -> Moment:
    async def moment() -> None:
        raise RuntimeError("a bug")

    return moment


def backend_killed(bench: Bench) -> Moment:
    """The first attempt is in the database, waiting for its turn, when its session is ended."""

    async def kill() -> None:
        connection = await asyncpg.connect(bench.database_url)

        async def is_killed() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE query LIKE '%events.append%' AND wait_event_type = 'Lock'"
                )
            )

        async with bench.store.log(TENANT).locked():
            locked.set()
            await eventually(is_killed)
        await connection.close()

    locked = asyncio.Event()

    async def moment() -> None:
        killing.append(asyncio.create_task(kill()))
        await locked.wait()

    killing: list[asyncio.Task[None]] = []
    return moment


@pytest.mark.parametrize("failure", [away_for_good, refused_as_a_bug])
async def test_nothing_stands_on_a_batch_that_was_never_written(
    bench: Bench, failure: Failure
) -> None:
    await bench.settle(proposal(new_event("z")))
    a, b = new_event("a"), new_event("b")

    first, outcomes = await bench.settle_after(
        [proposal(a, b)],
        [
            proposal(new_event("c"), expecting={"a": 0}),
            proposal(new_event("c"), expecting={"b": ABSENT}),
            proposal(a),
            proposal(new_event("c", content="other", with_id=b.event_id)),
            proposal(new_event("a")),
        ],
        then=failure(bench),
    )

    assert isinstance(first, DatabaseUnavailable | RuntimeError)
    assert isinstance(outcomes[0], PreconditionFailed)
    assert outcomes[0].violations[0].actual_revision is None
    assert [places(outcome) for outcome in outcomes[1:]] == [
        [(2, 0, False)],
        [(3, 0, False)],
        [(4, 1, False)],
        [(5, 1, False)],
    ]


async def test_no_answer_stands_on_a_batch_that_was_never_written(bench: Bench) -> None:
    """Nothing of the second would be written, so that no write finds out."""
    await bench.settle(proposal(new_event("z")))
    a = proposal(new_event("a"), expecting={"a": ABSENT})

    _, (outcome,) = await bench.settle_after([a], [a], then=refused_as_a_bug(bench))

    assert places(outcome) == [(2, 0, False)]
    assert len(await bench.ids()) == 2


async def test_nothing_stands_on_a_batch_that_another_took_the_place_of(bench: Bench) -> None:
    """The log ends where it would have ended with the first batch."""
    await bench.settle(proposal(new_event("z")))

    async def moved_as_far() -> None:
        await head_moved_as_far(bench)()
        raise RuntimeError

    _, outcomes = await bench.settle_after(
        [proposal(new_event("b"), new_event("b"))],
        [
            proposal(new_event("c"), expecting={"b": 1}),
            proposal(new_event("c"), expecting={"a": 0}),
        ],
        then=moved_as_far,
    )

    assert isinstance(outcomes[0], PreconditionFailed)
    assert places(outcomes[1]) == [(4, 0, False)]


@pytest.mark.parametrize(
    ("failure", "moved_by", "revision"), [(head_moved, 1, 0), (head_moved_as_far, 2, 1)]
)
async def test_nothing_stands_on_a_batch_that_came_to_lie_elsewhere(
    bench: Bench, failure: Failure, moved_by: int, revision: int
) -> None:
    await bench.settle(proposal(new_event("z")))
    a, b = new_event("a"), new_event("b")

    first, outcomes = await bench.settle_after(
        [proposal(a, b)],
        [
            proposal(new_event("c"), expecting={"a": revision}),
            proposal(new_event("c"), expecting={"other": ABSENT}),
            proposal(a),
            proposal(new_event("a")),
        ],
        then=failure(bench),
    )

    assert not isinstance(first, BaseException)
    assert places(first[0]) == [(2 + moved_by, revision, False), (3 + moved_by, 0, False)]
    assert places(outcomes[0]) == [(4 + moved_by, 0, False)]
    assert isinstance(outcomes[1], PreconditionFailed)
    assert places(outcomes[2]) == [(2 + moved_by, revision, True)]
    assert places(outcomes[3]) == [(5 + moved_by, revision + 1, False)]


@pytest.mark.parametrize(
    "failure", [lambda _: connection_lost, backend_killed], ids=["lost", "killed"]
)
async def test_what_is_written_at_the_second_attempt_is_stood_on_as_well(
    bench: Bench, failure: Failure
) -> None:
    await bench.settle(proposal(new_event("z")))
    a = new_event("a")

    first, outcomes = await bench.settle_after(
        [proposal(a)],
        [
            proposal(new_event("c"), expecting={"a": 0}),
            proposal(new_event("c"), expecting={"a": ABSENT}),
            proposal(a),
        ],
        then=failure(bench),
    )

    assert not isinstance(first, BaseException)
    assert places(first[0]) == [(2, 0, False)]
    assert places(outcomes[0]) == [(3, 0, False)]
    assert isinstance(outcomes[1], PreconditionFailed)
    assert places(outcomes[2]) == [(2, 0, True)]


async def test_what_stands_on_a_write_whose_answer_was_lost_is_decided_again(
    bench: Bench,
) -> None:
    a = new_event("a")
    bench.log.after_write.append(connection_lost)

    first, outcomes = await bench.settle_after(
        [proposal(a)], [proposal(a), proposal(new_event("a"), expecting={"a": 0})]
    )

    assert not isinstance(first, BaseException)
    assert [places(outcome) for outcome in [*first, *outcomes]] == [
        [(1, 0, False)],
        [(1, 0, True)],
        [(2, 1, False)],
    ]


async def test_an_id_that_the_first_batch_could_not_store_moves_the_second(bench: Bench) -> None:
    stored, event = new_event("a"), new_event("a")
    await bench.settle(proposal(stored))

    first, outcomes = await bench.settle_after(
        [proposal(stored), proposal(event)],
        [
            proposal(new_event("b"), expecting={"a": 1}),
            proposal(new_event("b"), expecting={"a": 2}),
            proposal(event),
        ],
    )

    assert not isinstance(first, BaseException)
    assert [places(outcome) for outcome in first] == [[(1, 0, True)], [(2, 1, False)]]
    assert places(outcomes[0]) == [(3, 0, False)]
    assert isinstance(outcomes[1], PreconditionFailed)
    assert places(outcomes[2]) == [(2, 1, True)]
    assert len(await bench.ids()) == 3
    assert bench.first_calls[-2:] == ["find", "write"]
    assert bench.first_calls.count("write") == 2


async def test_an_id_that_another_replica_stored_since_moves_the_second(bench: Bench) -> None:
    repeated = proposal(new_event("b"))

    async def other_appends_behind() -> None:
        await bench.other_appends(repeated)

    bench.log.after_write.append(other_appends_behind)

    _, outcomes = await bench.settle_after(
        [proposal(new_event("a"))], [repeated, proposal(new_event("a"), expecting={"a": 0})]
    )

    assert [places(outcome) for outcome in outcomes] == [[(2, 0, True)], [(3, 1, False)]]


async def test_a_batch_between_the_two_takes_the_second_back(bench: Bench) -> None:
    """As when the first is settled proposal by proposal, for one of them is not to be stored."""
    prepared: list[Prepared | None] = []
    second = [proposal(new_event("a"), expecting={"a": 0})]

    async def prepare() -> None:
        prepared.append(await bench.committer.prepare(second))

    bench.log.before_write.append(prepare)
    await bench.settle(proposal(new_event("a")))
    await bench.settle(proposal(new_event("a")))

    (outcome,) = await bench.settle(*second, prepared=prepared[0])

    assert isinstance(outcome, PreconditionFailed)
    assert outcome.violations[0].actual_revision == 1


async def test_many_replicas_that_prepare_fill_the_log_without_gaps(bench: Bench) -> None:
    """Each settles batches one after the other, prepared meanwhile, all wanting one stream."""

    async def replica(number: int) -> list[Outcome]:
        committer = Committer(
            bench.store.log(TENANT),
            record.encoder_at,
            Counts(),
            CommitterLimits(),
            RevisionCache(),
        )
        batches = [
            [proposal(new_event("shared"), new_event(f"own-{number}")), proposal(new_event("x"))]
            for _ in range(20)
        ]
        return await _pipelined(committer, batches)

    outcomes = [one for many in await asyncio.gather(*map(replica, range(4))) for one in many]

    every = [place for outcome in outcomes for place in places(outcome)]
    assert sorted(position for position, _, _ in every) == list(range(1, 241))
    shared = [places(outcome)[0][1] for outcome in outcomes if len(places(outcome)) == 2]
    assert sorted(shared) == list(range(80))


async def _pipelined(committer: Committer, batches: Sequence[Sequence[Proposal]]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    preparing: Awaitable[Prepared | None] | None = None
    for batch, after in zip(batches, [*batches[1:], []], strict=True):
        prepared = await preparing if preparing is not None else None
        started: list[asyncio.Task[Prepared | None]] = []

        def prepare(
            after: Sequence[Proposal] = after,
            started: list[asyncio.Task[Prepared | None]] = started,
        ) -> None:
            if not started:
                started.append(asyncio.create_task(committer.prepare(after)))

        outcomes += await committer.settle(batch, lambda: True, prepared, prepare)
        preparing = started[0]
    return outcomes
