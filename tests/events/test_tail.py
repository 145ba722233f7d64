"""The seam between what is stored and what is new, with everything happening at its worst."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, StreamName, TenantId
from services.events import record
from services.events.appending.committer import Committer, CommitterLimits
from services.events.appending.remembered import RevisionCache
from services.events.domain import LogEnd
from services.events.errors import LogReplaced
from services.events.postgres.store import PostgresEventStore
from services.events.reading.follower import Followers
from services.events.reading.reader import ReadOptions
from services.events.reading.send_budget import SendBudget
from services.events.reading.tail import TailLimits, Tails
from services.events.store import FollowedLog, LogPage, LogTail, PageRequest
from services.plumbing.errors import Unavailable
from tests.events.counting import Counts
from tests.events.failing import Moment, connection_lost
from tests.events.making import new_event, proposal

TENANT = TenantId("acme")


class Seam(PostgresEventStore):
    """The store; tests choose what happens right after a page was read, and before a tail is."""

    def __init__(self, store: PostgresEventStore) -> None:
        self.__dict__ = store.__dict__
        self.after_page: list[Moment] = []
        self.before_tail: list[Moment] = []
        self.before_moved: list[Moment] = []
        self.is_replaced = False
        self.shared: Position | None = None
        self.tail_count = 0

    async def page(self, tenant: TenantId, request: PageRequest) -> LogPage:
        page = await super().page(tenant, request)
        if self.after_page:
            await self.after_page.pop(0)()
        return page._replace(incarnation="another") if self.is_replaced else page

    async def tail(
        self, tenant: TenantId, position: Position, row_count_max: int, record_bytes_max: int
    ) -> LogTail:
        self.tail_count += 1
        if self.before_tail:
            await self.before_tail.pop(0)()
        tail = await super().tail(tenant, position, row_count_max, record_bytes_max)
        return tail._replace(incarnation="another") if self.is_replaced else tail

    async def shared_position(self, tenant: TenantId, incarnation: str) -> Position | None:
        return self.shared

    async def moved(self, logs: Sequence[FollowedLog]) -> Sequence[TenantId]:
        if self.before_moved:
            await self.before_moved.pop(0)()
        return await super().moved(logs)

    async def end(self, tenant: TenantId) -> LogEnd:
        end = await super().end(tenant)
        return end._replace(incarnation="another") if self.is_replaced else end


@dataclass
class Followed:
    """An `Instruments` that remembers."""

    window_bytes: int = 0
    followers: int = 0
    sources: list[tuple[str, int]] = field(default_factory=list)

    def windows_changed(self, byte_count: int) -> None:
        self.window_bytes = byte_count

    def followed(self, follower_count: int) -> None:
        self.followers += follower_count

    def delivered(self, source: str, record_count: int) -> None:
        self.sources.append((source, record_count))


class Bench:
    """Followers of a real log, and somebody who appends to it."""

    def __init__(self, store: PostgresEventStore, limits: TailLimits) -> None:
        self.store = Seam(store)
        self.counts = Followed()
        self.tails = Tails(self.store, record.read_response, self.counts, limits, SendBudget(2**26))
        self.followers = Followers(
            self.store,
            self.tails,
            record.read_response,
            record.signal_response,
            self.counts,
            limits,
        )
        self._committer = Committer(
            store.log(TENANT), record.encoder_at, Counts(), CommitterLimits(), RevisionCache()
        )

    async def append(self, *streams: str, content: str = "") -> None:
        events = [new_event(stream, content=content) for stream in streams]
        await self._committer.settle([proposal(*events)], is_wanted=lambda: True)

    async def append_and_wait(self, *streams: str) -> None:
        """Append, and return once the tail has it."""
        await self.append(*streams)
        head = (await self.store.end(TENANT)).head
        self.tails.moved(TENANT, head)
        async with self.tails.tail(TENANT) as tail:
            await tail.moved(head)

    @asynccontextmanager
    async def following(
        self, options: ReadOptions
    ) -> AsyncIterator[Callable[[int], Awaitable[list[int]]]]:
        """Gives a function that answers the next positions, so many at least."""
        polling = asyncio.create_task(self.tails.poll())
        async with aclosing(self.followers.follow(TENANT, options)) as responses:

            async def following(count: int) -> list[int]:
                positions: list[int] = []
                async with asyncio.timeout(60):
                    while len(positions) < count:
                        response = pb.ReadResponse.FromString(await anext(responses))
                        positions += [recorded.position for recorded in response.events]
                return positions

            try:
                yield following
            finally:
                polling.cancel()


@pytest.fixture
def bench(store: PostgresEventStore) -> Bench:
    return Bench(store, TailLimits(retry_budget_s=0.3))


@pytest.mark.parametrize(("stream", "expected"), [(None, [1, 2, 3, 4]), (StreamName("a"), [1, 3])])
async def test_what_is_committed_right_behind_the_last_page_is_not_left_out(
    bench: Bench, stream: StreamName | None, expected: list[int]
) -> None:
    await bench.append("a", "b")

    async def append_at_the_seam() -> None:
        await bench.append_and_wait("a", "b")

    bench.store.after_page.append(append_at_the_seam)
    async with bench.following(ReadOptions(stream)) as received:
        assert await received(len(expected)) == expected


@pytest.mark.parametrize("stream", [None, StreamName("a")])
async def test_what_a_page_holds_already_is_not_sent_again_from_the_window(
    bench: Bench, stream: StreamName | None
) -> None:
    await bench.append("a")
    is_held, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold_the_tail_up() -> None:
        is_held.set()
        await may_go_on.wait()

    bench.store.before_tail.append(hold_the_tail_up)
    async with bench.tails.tail(TENANT):
        await is_held.wait()
        await bench.append("a")
        async with bench.following(ReadOptions(stream)) as received:
            assert await received(2) == [1, 2]
            may_go_on.set()
            await bench.append_and_wait("a")
            assert await received(1) == [3]


async def test_a_log_is_read_once_for_all_who_follow_it(bench: Bench) -> None:
    async def one() -> None:
        async with bench.following(ReadOptions()) as received:
            arrived.release()
            assert await received(1) == [1]

    arrived = asyncio.Semaphore(0)
    following = [asyncio.create_task(one()) for _ in range(100)]
    for _ in following:
        await arrived.acquire()
    await asyncio.sleep(0.05)
    before = bench.store.tail_count

    await bench.append_and_wait("s")
    await asyncio.gather(*following)

    assert bench.counts.sources == [("window", 1)] * 100
    # Each second it is looked again, whatever was told: a busy machine has time for some.
    assert bench.store.tail_count - before < 20


async def test_who_fell_behind_catches_up_from_the_database_and_comes_back(
    store: PostgresEventStore,
) -> None:
    bench = Bench(store, TailLimits(window_bytes=20_000))
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s")
        assert await received(1) == [1]
        for _ in range(50):
            await bench.append_and_wait("s", "s")

        assert await received(100) == list(range(2, 102))
        await bench.append_and_wait("s")
        assert await received(1) == [102]

    assert {source for source, _ in bench.counts.sources} == {"window", "database"}
    assert bench.counts.sources[-1] == ("window", 1)


async def test_all_windows_together_stay_within_their_bounds(store: PostgresEventStore) -> None:
    bench = Bench(store, TailLimits(window_bytes=2**20, windows_bytes=100_000))
    async with bench.tails.tail(TENANT), bench.tails.tail(TenantId("other")):
        for _ in range(30):
            await bench.append_and_wait(*["s"] * 20)
            assert bench.counts.window_bytes <= 100_000


async def test_followers_wait_while_the_database_is_away(bench: Bench) -> None:
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s")
        assert await received(1) == [1]
        bench.store.before_tail += [connection_lost] * 2

        await bench.append("s")
        bench.tails.look()

        assert await received(1) == [2]


async def test_followers_are_told_when_the_database_stays_away(bench: Bench) -> None:
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s")
        assert await received(1) == [1]
        bench.store.before_tail += [connection_lost] * 1_000

        bench.tails.moved(TENANT, Position(2))

        with pytest.raises(Unavailable):
            await received(1)
    bench.store.before_tail.clear()
    async with bench.following(ReadOptions(from_position=Position(2))) as received:
        await bench.append("s")
        bench.tails.look()
        assert await received(1) == [2]


async def test_followers_of_a_log_at_rest_are_told_as_well(bench: Bench) -> None:
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s")
        assert await received(1) == [1]
        bench.store.before_moved += [connection_lost] * 1_000

        bench.tails.look()

        with pytest.raises(Unavailable):
            await received(1)


async def test_what_was_appended_unnoticed_is_found_by_asking_once_for_all_logs(
    bench: Bench,
) -> None:
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s")
        assert await received(1) == [1]

        await bench.append("s")

        assert await received(1) == [2]


async def test_a_log_that_was_replaced_ends_its_followers_and_not_who_comes_then(
    bench: Bench,
) -> None:
    async with bench.following(ReadOptions()) as received:
        await bench.append_and_wait("s", "s")
        assert await received(2) == [1, 2]
        bench.store.before_tail.append(connection_lost)
        bench.store.is_replaced = True

        bench.tails.moved(TENANT, Position(3))

        with pytest.raises(LogReplaced):
            await received(1)
    async with bench.following(ReadOptions(from_position=Position(1))) as received:
        assert await received(2) == [1, 2]


@pytest.mark.parametrize("stream", [None, StreamName("s")])
async def test_events_of_a_replaced_log_never_follow_upon_those_of_the_new_one(
    store: PostgresEventStore, stream: StreamName | None
) -> None:
    bench = Bench(store, TailLimits(window_bytes=1))
    async with bench.tails.tail(TENANT):
        await bench.append_and_wait(*["s"] * 128)
        await bench.append_and_wait("s")

        async def replace() -> None:
            bench.store.is_replaced = True

        bench.store.after_page.append(replace)
        async with bench.following(ReadOptions(stream)) as received:
            assert await received(128) == list(range(1, 129))
            with pytest.raises(LogReplaced):
                await received(1)


@pytest.mark.parametrize("stream", [None, StreamName("s")])
async def test_who_is_ahead_of_the_tail_when_the_log_is_replaced_is_told(
    bench: Bench, stream: StreamName | None
) -> None:
    await bench.append("s")
    is_held, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold_the_tail_up() -> None:
        is_held.set()
        await may_go_on.wait()

    bench.store.before_tail.append(hold_the_tail_up)
    async with bench.tails.tail(TENANT):
        await is_held.wait()
        await bench.append("s", "s")
        async with bench.following(ReadOptions(stream)) as received:
            assert await received(3) == [1, 2, 3]
            bench.store.is_replaced, bench.store.shared = True, Position(1)
            may_go_on.set()
            await bench.append_and_wait("s")

            with pytest.raises(LogReplaced):
                await received(1)


async def test_a_follower_who_leaves_while_it_waits_is_forgotten(bench: Bench) -> None:
    async with bench.tails.tail(TENANT) as tail:
        for _ in range(10):
            waiting = asyncio.create_task(tail.moved(tail.window.end))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])

        assert not tail._waiting
