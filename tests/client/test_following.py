"""Following: each event once and in order, whatever happens; and state that is kept current."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import grpc
import pytest

from girih.client import (
    ABSENT,
    AsyncClient,
    Batch,
    BeyondEnd,
    ClientClosed,
    EventStoreClient,
    Follower,
    GirihError,
    LogReplaced,
    NewEvent,
    PermissionDenied,
    RetryPolicy,
    Subscription,
    Unavailable,
)
from tests.authority import Authority
from tests.client.between import Between, Failure

ENDINGS = [
    Failure(grpc.StatusCode.UNAVAILABLE, responses=1),
    Failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", responses=2),
    Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    Failure(grpc.StatusCode.DEADLINE_EXCEEDED, responses=1),
    Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "READERS_BUSY", retry_after_s=0.1, responses=3),
]


def numbered(stream: str, count: int) -> list[NewEvent]:
    return [NewEvent.with_data(stream, "counted", {"n": n}) for n in range(count)]


async def first(subscription: Subscription, count: int) -> list[int]:
    """The positions of the first events to come."""
    positions: list[int] = []
    async with asyncio.timeout(60), aclosing(aiter(subscription)) as events:
        async for event in events:
            positions.append(event.position)
            if len(positions) == count:
                break
    return positions


@asynccontextmanager
async def running(follower: Follower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.run())
    try:
        yield
        assert not task.done(), "the follower has died"
    finally:
        task.cancel()
        await asyncio.wait([task])


class Sum:
    """Folds numbers, and keeps the places it was given."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def fold(self, batch: Batch) -> None:
        self.positions += [event.position for event in batch]


async def test_a_follower_gets_each_event_once_and_in_order_over_broken_calls(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.batch_max, broken.failures = 2, list(ENDINGS)
    await events.append(numbered("a", 9))

    async def append_more() -> None:
        for _ in range(9):
            await events.append(numbered("b", 1))

    read, _ = await asyncio.gather(first(patient.follow(), 18), append_more())

    assert read == list(range(1, 19))
    assert not broken.failures


async def test_a_stream_is_followed_from_a_revision_on(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.batch_max, broken.failures = 1, list(ENDINGS)
    for _ in range(5):
        await events.append([*numbered("a", 1), *numbered("b", 1)])

    assert await first(patient.follow("a", from_revision=1), 4) == [3, 5, 7, 9]


async def test_closing_ends_it_also_while_it_waits_for_a_token(
    broken: Between, authority: Authority, tenant: str
) -> None:
    asked, given = asyncio.Event(), asyncio.Event()

    async def token() -> str:
        asked.set()
        await given.wait()
        return authority.token(tenant)

    async with EventStoreClient.connect(broken.address, token=token) as events:
        subscription = events.follow()
        following = asyncio.create_task(first(subscription, 1))
        await asked.wait()
        subscription.close()
        given.set()

        assert await following == []

    assert not broken.requests


async def test_a_follower_ends_with_its_client(address: str, authority: Authority) -> None:
    async with AsyncClient(events=address, token=authority.token("acme")) as client:
        follower = Follower(client, Sum().fold)
        following = asyncio.create_task(follower.run())
        await follower.until_caught_up(timeout=60)

    with pytest.raises(ClientClosed):
        await asyncio.wait_for(following, 60)


async def test_interruptions_are_told_and_the_end_of_the_log_is_not_passed(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.failures = [Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")]
    interruptions: list[GirihError] = []
    await events.append(numbered("a", 1))

    await first(patient.follow(on_interrupted=interruptions.append), 1)

    assert [error.reason for error in interruptions] == ["SHUTTING_DOWN"]
    with pytest.raises(BeyondEnd):
        await first(patient.follow(from_position=7), 1)


async def test_who_is_refused_was_not_connected(events: EventStoreClient) -> None:
    connected: list[bool] = []

    async def on_connected() -> None:
        connected.append(True)

    with pytest.raises(BeyondEnd):
        await first(events.follow(from_position=7, on_connected=on_connected), 1)

    assert not connected


async def test_a_read_that_takes_long_to_be_placed_is_not_begun_anew(
    events: EventStoreClient, broken: Between, authority: Authority, tenant: str
) -> None:
    await events.append(numbered("a", 1))
    broken.placed.clear()
    hasty, token = RetryPolicy(attempt_timeout_s=0.1, pause_s_min=0.01), authority.token(tenant)
    async with EventStoreClient.connect(broken.address, token=token, retry=hasty) as patient:
        following = asyncio.create_task(first(patient.follow(), 1))
        await asyncio.wait([following], timeout=0.5)
        broken.placed.set()

        assert await following == [1]

    assert len(broken.requests) == 1


async def test_what_is_gone_on_from_is_told_with_the_incarnation_that_it_is_from(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    await events.append(numbered("a", 3))
    incarnation = (await events.log()).incarnation
    broken.batch_max, broken.failures = 1, [Failure(grpc.StatusCode.UNAVAILABLE, responses=1)] * 2

    subscription = patient.follow()
    await first(subscription, 3)
    read = [event.position async for event in patient.read(incarnation=incarnation)]

    assert read == [1, 2, 3]
    assert subscription.incarnation == incarnation
    assert [one.incarnation for one in broken.requests] == ["", *[incarnation] * 3]


@pytest.mark.parametrize("stream", [None, "a"])
async def test_who_has_read_what_a_log_does_not_hold_is_told(
    events: EventStoreClient, stream: str | None
) -> None:
    await events.append(numbered("a", 3))
    position, revision = (2, None) if stream is None else (None, 1)
    lost = "0123456789abcdef"

    with pytest.raises(LogReplaced) as followed:
        await first(
            events.follow(stream, from_position=position, from_revision=revision, incarnation=lost),
            1,
        )
    with pytest.raises(LogReplaced):
        await anext(
            events.read(stream, from_position=position, from_revision=revision, incarnation=lost)
        )

    assert followed.value.incarnation == (await events.log()).incarnation
    assert followed.value.shared_position == 0


async def test_a_state_of_a_log_that_was_replaced_is_folded_anew(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    await events.append(numbered("a", 3))
    broken.failures = [Failure(grpc.StatusCode.ABORTED, "LOG_REPLACED", responses=1)]
    state, starts = Sum(), list[None]()

    async def start() -> int:
        state.positions.clear()
        starts.append(None)
        return 0

    async with running(Follower(patient, state.fold, start=start)):
        async with asyncio.timeout(60):
            while len(starts) < 2 or state.positions != [1, 2, 3]:  # noqa: ASYNC110 - its own task
                await asyncio.sleep(0.01)


async def test_who_may_not_read_is_told_and_does_not_try_again(
    broken: Between, patient: EventStoreClient, authority: Authority, tenant: str
) -> None:
    mute = patient.acting(token=authority.token(tenant, scopes=["events.append"]))

    with pytest.raises(PermissionDenied):
        await first(mute.follow(), 1)

    assert len(broken.requests) == 1


async def test_a_state_is_current_once_it_holds_what_there_was(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    broken.batch_max = 1
    await events.append(numbered("a", 20))
    state = Sum()
    follower = Follower(patient, state.fold)
    assert (follower.is_current, follower.behind_s) == (False, float("inf"))

    async with running(follower):
        await follower.until_caught_up(timeout=60)

        assert state.positions == list(range(1, 21))
        assert (follower.place, follower.is_current, follower.behind_s) == (20, True, 0.0)

    assert not follower.is_current
    assert follower.behind_s < 10


async def test_a_write_is_read_when_its_place_is_waited_for(
    events: EventStoreClient,
) -> None:
    state = Sum()
    follower = Follower(events, state.fold, stream="a")

    async with running(follower):
        await follower.until_caught_up(timeout=60)
        assert follower.place == ABSENT
        await events.append(numbered("b", 3))
        placements = await events.append(numbered("a", 2))
        await follower.until(placements[-1].revision, timeout=60)

        assert (state.positions, follower.place) == ([4, 5], 1)
        with pytest.raises(Unavailable):
            await follower.until(2, timeout=0.05)


async def test_a_state_grows_old_while_its_store_is_away_and_is_current_again_afterwards(
    events: EventStoreClient, broken: Between, patient: EventStoreClient
) -> None:
    state, interruptions = Sum(), list[GirihError]()
    follower = Follower(patient, state.fold, on_interrupted=interruptions.append)
    await events.append(numbered("a", 1))
    async with running(follower):
        await follower.until_caught_up(timeout=60)
        # One response ends the call, and then the store is away for a while.
        broken.failures = [
            Failure(grpc.StatusCode.UNAVAILABLE, responses=1),
            *[Failure(grpc.StatusCode.UNAVAILABLE, retry_after_s=0.1)] * 5,
        ]
        await _restarted(broken)
        await events.append(numbered("a", 1))

        async with asyncio.timeout(60):
            while len(interruptions) < 2:  # noqa: ASYNC110 - the follower's own task
                await asyncio.sleep(0.01)
        assert follower.behind_s > 0.0

        await events.append(numbered("a", 1))
        await follower.until(3, timeout=60)
        assert (state.positions, follower.behind_s) == ([1, 2, 3], 0.0)


async def _restarted(broken: Between) -> None:
    """End every open call, so that the next meets the failures."""
    for call in list(broken.open_calls):
        call.cancel()


async def test_a_log_that_was_restored_is_folded_anew(
    events: EventStoreClient,
) -> None:
    await events.append(numbered("a", 3))
    state, starts = Sum(), [7, 1]

    async def start() -> int:
        state.positions.clear()
        return starts.pop(0)

    follower = Follower(events, state.fold, start=start)
    async with running(follower):
        await follower.until_caught_up(timeout=60)

    assert (state.positions, starts) == ([2, 3], [])


async def test_a_fold_that_fails_ends_the_follower_and_all_who_wait_for_it(
    events: EventStoreClient,
) -> None:
    def fail(batch: Sequence[object]) -> None:
        raise LookupError(f"{len(batch)} events that nobody knows")

    await events.append(numbered("a", 1))
    follower = Follower(events, fail)
    task = asyncio.create_task(follower.run())

    with pytest.raises(Unavailable) as stopped:
        await follower.until(1, timeout=60)

    assert stopped.value.reason == "FOLLOWER_STOPPED"
    with pytest.raises(LookupError):
        await task
