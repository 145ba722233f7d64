"""The event store is killed and started again: programs go on, and need no code for it."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from girih.client import EventStoreClient, Follower, NewEvent, RetryPolicy
from tests.authority import Authority
from tests.processes import Process, ending, events_process

RETRY = RetryPolicy(timeout_s=60.0, attempt_timeout_s=5.0)


@pytest.fixture
def own_event_store(
    database_url: str, authority: Authority, tmp_path: Path
) -> Iterator[tuple[Process, str]]:
    """One that a test may kill."""
    process, address = events_process(database_url, tmp_path, **authority.environ)
    with ending(process):
        process.start()
        process.wait_ready()
        yield process, address


async def test_a_killed_event_store_loses_and_doubles_nothing(
    own_event_store: tuple[Process, str], authority: Authority
) -> None:
    process, address = own_event_store
    tenant = f"test-{secrets.token_hex(8)}"
    appended: list[str] = []
    folded: list[str] = []
    is_over = asyncio.Event()

    def token() -> str:
        return authority.token(tenant)

    async def append_on(events: EventStoreClient) -> None:
        while not is_over.is_set():
            batch = [NewEvent(stream="a", type="x") for _ in range(3)]
            appended.extend(event.id for event in batch)
            await events.append(batch)

    async with EventStoreClient.connect(address, token=token, retry=RETRY) as events:
        follower = Follower(events, lambda batch: folded.extend(event.id for event in batch))
        following = asyncio.create_task(follower.run())
        appending = asyncio.create_task(append_on(events))
        await follower.until(30, timeout=60)
        for _ in range(2):
            process.kill()
            process.start()
            await asyncio.to_thread(process.wait_ready)
            await follower.until(follower.place + 30, timeout=60)
        is_over.set()
        await appending
        await follower.until(len(appended), timeout=60)

        following.cancel()
        await asyncio.wait([following])
        stored = [event.id async for event in events.read()]

    assert folded == appended == stored


async def test_appends_of_one_call_lie_in_order_and_once_though_it_is_killed(
    own_event_store: tuple[Process, str], authority: Authority
) -> None:
    process, address = own_event_store
    tenant = f"test-{secrets.token_hex(8)}"
    many = [NewEvent(stream="a", type="x") for _ in range(3_000)]

    def token() -> str:
        return authority.token(tenant)

    async def kill_and_start() -> None:
        process.kill()
        process.start()
        await asyncio.to_thread(process.wait_ready)

    async with EventStoreClient.connect(address, token=token, retry=RETRY) as events:
        async with events.append_stream() as appends:
            outcomes = []
            killing: list[asyncio.Task[None]] = []
            for count, event in enumerate(many):
                outcomes.append(await appends.begin([event]))
                if count in (1_000, 2_000):
                    killing.append(asyncio.create_task(kill_and_start()))
            placements = [(await outcome)[0] for outcome in outcomes]
            await asyncio.gather(*killing)
        stored = [event.id async for event in events.read()]

    assert stored == [event.id for event in many]
    assert [one.event_id for one in placements] == stored
    assert [one.position for one in placements] == list(range(1, 3_001))
