"""The server in memory does for tests what no service can be asked to do. Its answers are tried in
`tests/contract`, with those of the service."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from girih.client import (
    AsyncClient,
    Client,
    EventStoreClient,
    GirihError,
    NewEvent,
    PermissionDenied,
    Query,
    Retention,
    Unauthenticated,
)
from girih.testing import MemoryServer
from tests.processes import ROOT


def happened(stream: str = "s") -> NewEvent:
    return NewEvent.with_data(stream, "happened", {})


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
async def girih(server: MemoryServer) -> AsyncIterator[AsyncClient]:
    async with server, server.async_client() as girih:
        yield girih


async def test_a_follower_goes_on_where_it_was_when_the_server_was_killed_or_drained(
    server: MemoryServer, girih: AsyncClient
) -> None:
    positions = []
    await girih.append([happened()])

    async with girih.follow() as events:
        async for event in events:
            positions.append(event.position)
            if len(positions) == 4:
                break
            if len(positions) == 2:
                server.end_streams()
            else:
                server.stop()
                server.start()
            await girih.append([happened()])

    assert positions == [1, 2, 3, 4]


async def test_a_token_that_has_expired_ends_calls_and_another_goes_on(
    server: MemoryServer,
) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(server.token())
        return given[-1]

    async with server, server.async_client(token=token) as girih:
        await girih.append([happened()])
        async with girih.follow() as events:
            first = await anext(iterating := aiter(events))
            server.expire(given[-1])
            await girih.append([happened()])
            second = await anext(iterating)

    assert (first.position, second.position) == (1, 2)


async def test_nobody_is_let_in_without_a_token_that_is_good(server: MemoryServer) -> None:
    expired = server.token()
    server.expire(expired)
    async with server:
        for token, reason in (
            ("", "TOKEN_REQUIRED"),
            ("x", "TOKEN_INVALID"),
            (expired, "TOKEN_EXPIRED"),
        ):
            async with EventStoreClient.connect(server.address, token=token) as girih:
                with pytest.raises(Unauthenticated) as caught:
                    await girih.log()
                assert caught.value.reason == reason


async def test_a_token_allows_what_its_scopes_say(server: MemoryServer) -> None:
    reading = server.token(scopes=["events.read"])
    async with server, server.async_client(token=reading) as girih:
        assert await girih.head() == 0
        with pytest.raises(PermissionDenied, match="SCOPE_MISSING"):
            await girih.append([happened()])


async def test_events_are_dated_and_kept_by_the_clock_of_the_test() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with MemoryServer(now=lambda: now) as server, server.async_client() as girih:
        (placed,) = await girih.append([happened()])
        await girih.set_retention("s", Retention(max_age_s=60))
        assert await girih.last("s") is not None

        now += timedelta(seconds=61)

        assert placed.recorded_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert await girih.last("s") is None


async def test_payloads_that_a_rule_hid_do_not_come_back_when_it_is_relaxed(
    girih: AsyncClient,
) -> None:
    await girih.append([happened(), happened()])
    await girih.set_retention("s", Retention(max_count=1))

    await girih.set_retention("s", Retention())

    assert [event.revision async for event in girih.read("s")] == [1]
    described = await girih.get_stream("s")
    assert (described.first_revision, described.event_count) == (1, 1)


async def test_tenants_have_logs_of_their_own(server: MemoryServer, girih: AsyncClient) -> None:
    async with server.async_client("acme") as acme:
        await acme.append([happened("theirs")])

        assert [event async for event in girih.read()] == []


async def test_what_is_not_served_is_told(girih: AsyncClient) -> None:
    with pytest.raises(GirihError) as caught:
        await anext(girih.schemas())

    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_a_client_without_asyncio_is_ended_by_another_thread(server: MemoryServer) -> None:
    with server, server.client() as girih:
        events = girih.follow()
        girih.append([happened()])
        came = threading.Event()

        def follow() -> None:
            for _ in events:
                came.set()

        following = threading.Thread(target=follow)
        following.start()
        assert came.wait(30)
        events.close()
        following.join(30)

        assert not following.is_alive()


def test_a_follower_is_told_what_was_looked_at_in_vain(server: MemoryServer) -> None:
    looked = threading.Event()
    with server, server.client() as girih:
        girih.append([happened()])
        with girih.follow(filter=Query(types=["never"]), on_looked=looked.set) as events:
            threading.Thread(target=list, args=(events,), daemon=True).start()

            assert looked.wait(30)
            assert events.position == 1


def test_a_follower_is_told_that_all_has_come_for_as_long_as_its_call_lasts(
    server: MemoryServer,
) -> None:
    noticed = threading.Event()
    with server, server.client() as girih:
        girih.append([happened()])
        with girih.follow(on_looked=noticed.set) as events:
            following = threading.Thread(target=list, args=(events,), daemon=True)
            following.start()

            assert noticed.wait(30)
            assert events.is_caught_up
        following.join(30)
        assert not events.is_caught_up


def test_a_server_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())

    with MemoryServer() as server, Client(events=server.address, token=server.token()) as girih:
        girih.append([happened()])
        with girih.follow() as events:
            next(iter(events))

    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert set(threading.enumerate()) <= before


_STOPPED_BEFORE_ITS_CLIENT = """
from girih.client import NewEvent
from girih.testing import MemoryServer

server = MemoryServer()
server.start()
with server.client() as girih:
    for _ in range(2):
        girih.append([NewEvent.with_data("s", "happened", {})])
        assert list(girih.read("s"))
        server.stop()
        server.start()
server.stop()
"""


def test_a_server_that_ends_before_its_idle_client_has_nothing_written_about_it() -> None:
    # gRPC writes from below Python, to the descriptor.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _STOPPED_BEFORE_ITS_CLIENT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


async def test_many_follow_at_once(server: MemoryServer, girih: AsyncClient) -> None:
    async def first() -> int:
        async with girih.follow() as events:
            return (await anext(aiter(events))).position

    following = [asyncio.create_task(first()) for _ in range(100)]
    await girih.append([happened()])

    assert await asyncio.gather(*following) == [1] * 100
