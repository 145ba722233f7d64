"""PostgreSQL goes and comes back. Nothing acknowledged is lost, and nothing is restarted."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc.aio
import pytest

from cli.local.postgres import EmbeddedPostgres
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.postgres.database import Database
from services.events.settings import Settings
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.making import append_of
from tests.events.serving import development, eventually, is_serving, until_serving
from tests.processes import with_data

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A durable server that a test may kill."""
    with EmbeddedPostgres(with_data(tmp_path / "data")) as server:
        yield server


@pytest.fixture
async def channel(
    own_postgres: EmbeddedPostgres, authority: Authority
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a service on that server."""
    settings = development(own_postgres.url, authority)
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        yield channel


@pytest.fixture
def events(channel: grpc.aio.Channel) -> "EventStoreServiceAsyncStub":
    return EventStoreServiceStub(channel)


async def stored_ids(events: "EventStoreServiceAsyncStub") -> list[str]:
    responses = [response async for response in events.Read(pb.ReadRequest())]
    return [recorded.event.id for response in responses for recorded in response.events]


async def append_until_answered(
    events: "EventStoreServiceAsyncStub", request: pb.AppendRequest
) -> int:
    """Repeat one call until it is answered; gives the position it was told."""
    while True:
        try:
            response = await events.Append(request, timeout=5)
        except grpc.aio.AioRpcError as error:
            assert error.code() in {  # noqa: PT017 - what it may be while the database is away
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }
            await asyncio.sleep(0.05)
        else:
            return int(response.placements[0].position)


async def test_a_killed_database_loses_and_doubles_nothing(
    own_postgres: EmbeddedPostgres, channel: grpc.aio.Channel, events: "EventStoreServiceAsyncStub"
) -> None:
    await until_serving(channel)
    answer: dict[str, int] = {}
    is_over = asyncio.Event()

    async def writer(number: int) -> None:
        while not is_over.is_set():
            request = append_of(f"s-{number}")
            answer[request.events[0].id] = await append_until_answered(events, request)

    async def kill_again_and_again() -> None:
        for count in (20, 40, 60, 80):
            while len(answer) < count:  # noqa: ASYNC110 - writers append to it
                await asyncio.sleep(0.05)
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.start)
        while len(answer) < 100:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        is_over.set()

    await asyncio.gather(kill_again_and_again(), *[writer(number) for number in range(8)])

    stored = await stored_ids(events)
    assert {stored[position - 1]: position for position in answer.values()} == answer
    assert len(set(stored)) == len(stored)


async def test_calls_fail_soon_and_health_follows_while_the_database_is_away(
    own_postgres: EmbeddedPostgres, channel: grpc.aio.Channel, events: "EventStoreServiceAsyncStub"
) -> None:
    await until_serving(channel)
    await events.Append(append_of("s"))
    await asyncio.to_thread(own_postgres.stop)

    async def is_away() -> bool:
        return not await is_serving(channel, "girih.events.v1.EventStoreService")

    await eventually(is_away, within_s=60)
    async with asyncio.timeout(60):
        for call in (
            events.Append(append_of("s")),
            events.GetLog(pb.GetLogRequest()),
            events.Read(pb.ReadRequest()).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    status = await events.GetDatabaseStatus(pb.GetDatabaseStatusRequest())
    assert not status.reachable

    await asyncio.to_thread(own_postgres.start)

    await until_serving(channel, "girih.events.v1.EventStoreService")
    await events.Append(append_of("s"))
    assert len(await stored_ids(events)) in {2, 3}


async def test_what_is_being_appended_when_the_server_stops_is_settled_first(
    settings: Settings, authority: Authority
) -> None:
    patient = settings.model_copy(update={"shutdown_grace_s": 0.0})
    other = await asyncpg.connect(settings.database_url.get_secret_value())

    async def is_blocked() -> bool:
        return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with (
        built(patient) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        events = EventStoreServiceStub(channel)
        await until_serving(channel)
        await events.Append(append_of("s"))
        async with other.transaction():
            await other.execute(_APPEND_AS_ANOTHER_PROCESS)
            append = events.Append(append_of("s"))
            await eventually(is_blocked)
            stopping = asyncio.create_task(server.stop())
            await asyncio.wait([stopping], timeout=0.3)
        await stopping
        await asyncio.wait([asyncio.ensure_future(append.code())])

    assert await other.fetchval("SELECT max(position) FROM events.records") == 3
    await other.close()


_APPEND_AS_ANOTHER_PROCESS = """
    WITH turns AS MATERIALIZED (SELECT events.take_turn(tenant) AS log FROM events.logs)
    INSERT INTO events.records (
        log, position, stream, revision, recorded_at, event_id, type, correlation_id,
        digest, header, payload
    )
    SELECT
        log, 2, stream, 1, recorded_at, gen_random_uuid(), type, correlation_id,
        digest, header, payload
    FROM events.records JOIN turns USING (log)
"""


async def test_serves_by_itself_when_the_database_comes_up_after_it(
    tmp_path: Path, authority: Authority
) -> None:
    postgres = EmbeddedPostgres(with_data(tmp_path / "data"))
    settings = development(postgres.url, authority)
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        events = EventStoreServiceStub(channel)
        assert not await is_serving(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await events.GetLog(pb.GetLogRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

        await asyncio.to_thread(postgres.start)
        try:
            await until_serving(channel)
            assert (await events.GetLog(pb.GetLogRequest())).head_position == 0
        finally:
            await asyncio.to_thread(postgres.stop)


async def test_who_asks_a_process_that_starts_is_told_to_come_again_soon(
    authority: Authority,
) -> None:
    database = Database(development("postgresql:///nowhere", authority))

    database._began_s = time.monotonic()
    assert await retry_after_s(database) < 1
    database._began_s = time.monotonic() - 60
    assert await retry_after_s(database) == 1


async def retry_after_s(database: Database) -> float:
    with pytest.raises(DatabaseUnavailable) as caught:
        async with database.connection():
            pass
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s
