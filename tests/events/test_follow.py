"""Who follows a log gets every event once and in order, and soon; and holds nothing up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc
import grpc.aio
import pytest

from cli.local.postgres import EmbeddedPostgres
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.postgres.database import LISTENER_NAME
from services.events.reading.tail import TailLimits
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.server import Server, running
from tests.authority import Authority
from tests.events.following import Follower, following
from tests.events.making import append_of, message
from tests.events.serving import development, eventually, until_serving
from tests.processes import with_data

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


@asynccontextmanager
async def serving(
    settings: Settings, authority: Authority
) -> AsyncIterator[tuple[Server, "EventStoreServiceAsyncStub"]]:
    """One more service on the same database, and a stub for it."""
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        yield server, EventStoreServiceStub(channel)


async def refused(follower: Follower) -> grpc.aio.AioRpcError:
    error = await follower.until_over()
    assert error is not None
    return error


async def value(server: Server, name: str) -> float:
    return server.registry.get_sample_value(name) or 0.0


async def is_listening(server: Server) -> bool:
    return await value(server, "events_notifications_connected") == 1


@pytest.mark.parametrize(("from_position", "is_accepted"), [(1, True), (7, False)])
async def test_a_follower_is_accepted_once_it_is_known_that_the_log_goes_on_from_there(
    events: "EventStoreServiceAsyncStub",
    database_url: str,
    from_position: int,
    *,
    is_accepted: bool,
) -> None:
    await events.Append(append_of("s"))
    async with AsyncExitStack() as stack:
        other = await asyncpg.connect(database_url)
        stack.push_async_callback(other.close)

        async def is_held_up() -> bool:
            return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await other.execute("BEGIN; LOCK TABLE events.logs IN ACCESS EXCLUSIVE MODE")
        request = pb.ReadRequest(from_position=from_position)
        follower = await stack.enter_async_context(following(events, request))
        accepted = asyncio.ensure_future(follower.accepted())

        await eventually(is_held_up)
        is_accepted_early = accepted.done()
        await other.execute("ROLLBACK")

        assert await asyncio.wait_for(accepted, 60) is is_accepted
        assert not is_accepted_early


async def test_what_one_process_appends_is_followed_through_another_at_once(
    events: "EventStoreServiceAsyncStub",
    settings: Settings,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The other would look by itself long after this is over.
    monkeypatch.setattr("services.events.app.TailLimits", partial(TailLimits, poll_s=3_600.0))
    async with serving(settings, authority) as (server, others), following(others) as follower:
        await follower.accepted()
        await eventually(lambda: is_listening(server))
        for count in range(1, 22):
            await events.Append(append_of("s"))
            assert await follower.until(count) == list(range(1, count + 1))


async def test_the_last_event_before_a_silence_comes_although_nobody_tells(
    events: "EventStoreServiceAsyncStub",
    settings: Settings,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "services.events.reading.notifications.Notifications._received", lambda *_: None
    )
    async with serving(settings, authority) as (_, others), following(others) as follower:
        await follower.accepted()
        for count in range(1, 6):
            await events.Append(append_of("s"))
            assert await follower.until(count) == list(range(1, count + 1))


async def test_what_comes_while_a_listener_is_cut_off_is_followed_and_it_hears_again(
    events: "EventStoreServiceAsyncStub",
    settings: Settings,
    authority: Authority,
    database_url: str,
) -> None:
    async with serving(settings, authority) as (server, others), following(others) as follower:
        await follower.accepted()

        await cut_listeners_off(database_url)
        await events.Append(append_of("s"))

        assert await follower.until(1) == [1]
        await eventually(lambda: is_listening(server))


async def cut_listeners_off(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        cut = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = $1 AND datname = current_database()",
            LISTENER_NAME,
        )
    finally:
        await connection.close()
    assert len(cut) == 2


async def test_a_follower_who_does_not_read_holds_nothing_up_and_misses_nothing(
    settings: Settings, authority: Authority
) -> None:
    async with serving(settings, authority) as (server, events), following(events) as quick:
        slow = events.Read(pb.ReadRequest(follow=True))
        await slow.initial_metadata()
        large = "x" * 30_000
        for _ in range(40):
            batch = [message("s", f'"{large}"') for _ in range(20)]
            await events.Append(pb.AppendRequest(events=batch))
            assert await value(server, "events_tail_window_bytes") < 5 * 2**20
        assert await quick.until(800) == list(range(1, 801))

        positions: list[int] = []
        while len(positions) < 800:
            response = await slow.read()
            assert isinstance(response, pb.ReadResponse)
            positions += [recorded.position for recorded in response.events]
        slow.cancel()

    assert positions == list(range(1, 801))


async def test_a_process_that_drains_ends_its_followers_at_once(
    settings: Settings, authority: Authority
) -> None:
    async with serving(settings, authority) as (server, events), AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(following(events)) for _ in range(20)]
        await events.Append(append_of("s"))
        for follower in followers:
            await follower.until(1)

        server.stopping.set()

        for follower in followers:
            error = await follower.until_over()
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert from_rpc_error(error).reason == "SHUTTING_DOWN"
        async with following(events) as late:
            assert from_rpc_error(await refused(late)).reason == "SHUTTING_DOWN"


async def test_followers_who_leave_leave_nothing_behind(
    settings: Settings, authority: Authority
) -> None:
    async with serving(settings, authority) as (server, events):
        async with AsyncExitStack() as stack:
            for _ in range(20):
                follower = await stack.enter_async_context(following(events))
                await events.Append(append_of("s"))
                await follower.until(1)
            assert await value(server, "events_followers") == 20
            assert await value(server, "events_tail_window_bytes") > 0

        async def is_clean() -> bool:
            tails = [task for task in asyncio.all_tasks() if task.get_name() == "tail"]
            gauges = ("events_followers", "events_tail_window_bytes")
            return not tails and not any([await value(server, name) for name in gauges])

        await eventually(is_clean, within_s=60.0)


async def test_following_ends_with_the_token(
    events: "EventStoreServiceAsyncStub", authority: Authority
) -> None:
    await events.Append(append_of("s"))
    for lifetime_s in (2, 12):
        metadata = authority.metadata(exp=int(time.time()) + lifetime_s, iat=int(time.time()))
        async with following(events, metadata=metadata) as follower:
            positions = await follower.until(1)
            error = await refused(follower)
        if positions:
            break  # Else the machine was so slow that the token had expired before.

    assert positions == [1]
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(error).reason == "TOKEN_EXPIRED"


async def test_following_goes_on_when_the_database_comes_back(
    tmp_path: Path, authority: Authority
) -> None:
    with EmbeddedPostgres(with_data(tmp_path / "data")) as postgres:
        settings = development(postgres.url, authority)
        async with serving(settings, authority) as (_, events), following(events) as follower:
            await events.Append(append_of("s"))
            await follower.until(1)

            postgres.stop()
            await asyncio.to_thread(postgres.start)
            await eventually(lambda: is_appended(events))

            positions = await follower.until(2)
            assert positions[:2] == [1, 2]
            assert not follower.is_over


async def is_appended(events: "EventStoreServiceAsyncStub") -> bool:
    try:
        await events.Append(append_of("s"))
    except grpc.aio.AioRpcError:
        return False
    return True
