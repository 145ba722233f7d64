"""A log goes back under live followers: who read what is no more is told, and nobody else."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.settings import Settings
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.following import following
from tests.events.making import append_of
from tests.events.serving import development, eventually, until_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

SHARED, LOST = 10, 20
"""Where the log was saved, and where it was when it was set back."""


class Restorable:
    """The database of one service."""

    def __init__(self, postgres: EmbeddedPostgres, name: str) -> None:
        self._postgres = postgres
        self._name = name

    async def save(self) -> None:
        """Make a copy of the database as it is."""
        async with self._closed():
            await self._execute(f"CREATE DATABASE {self._name}_saved TEMPLATE {self._name}")

    async def rename(self) -> None:
        """Put the copy in the place of the database, as an operator restores a backup."""
        async with self._closed():
            await self._execute(f"ALTER DATABASE {self._name} RENAME TO {self._name}_lost")
            await self._execute(f"ALTER DATABASE {self._name}_saved RENAME TO {self._name}")
            await self._execute(f"DROP DATABASE {self._name}_lost WITH (FORCE)")

    async def cut(self) -> None:
        """Take what was appended since away, as a snapshot of the disks does."""
        async with self._closed() as reopen:
            await reopen()
            await self._execute(
                "SET session_replication_role = replica;"
                f" DELETE FROM events.records WHERE position > {SHARED};"
                f" DELETE FROM events.streams WHERE stream > {SHARED}",
                self._name,
            )

    @asynccontextmanager
    async def _closed(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Nobody is connected to the database inside the block, until it is opened again."""

        async def reopen() -> None:
            await self._execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

        await self._execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        await self._execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{self._name}'"
        )
        yield reopen
        await reopen()

    async def _execute(self, sql: str, database: str = DATABASE) -> None:
        await asyncio.to_thread(self._postgres.execute, sql, database=database)


@pytest.fixture
def restorable(postgres: EmbeddedPostgres, settings: Settings) -> Restorable:
    url = settings.database_url.get_secret_value()
    return Restorable(postgres, urlsplit(url).path.removeprefix("/"))


async def append(events: "EventStoreServiceAsyncStub", count: int, stream: str = "s") -> int:
    """Appends one event a call; gives the position of the last."""
    for _ in range(count):
        response = await events.Append(append_of(stream))
    return int(response.placements[-1].position)


async def incarnation_of(events: "EventStoreServiceAsyncStub") -> str:
    log = await events.GetLog(pb.GetLogRequest())
    return str(log.incarnation)


async def refusal(events: "EventStoreServiceAsyncStub", request: pb.ReadRequest) -> tuple[str, str]:
    """What a read is refused with: the reason, and up to where it shares the log."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in events.Read(request):
            pass
    error = grpc_errors.from_rpc_error(caught.value)
    assert error.code is grpc.StatusCode.ABORTED
    return error.reason, error.metadata.get("shared_position", "")


async def test_every_response_and_the_log_tell_the_same_incarnation(
    events: "EventStoreServiceAsyncStub",
) -> None:
    before = await events.GetLog(pb.GetLogRequest())
    appended = [await events.Append(append_of("s")) for _ in range(3)]

    async with following(events) as follower:
        await follower.until(3)
        await append(events, 1)
        await follower.until(4)
        incarnations = {response.incarnation for response in follower.responses}
    stored = [response async for response in events.Read(pb.ReadRequest(stream="s"))]

    assert before.incarnation == ""
    assert {one.incarnation for one in appended} == incarnations
    assert incarnations == {await incarnation_of(events)} == {one.incarnation for one in stored}
    assert len(incarnations.pop()) == 16


@pytest.mark.parametrize("way", ["rename", "cut"])
async def test_who_read_what_a_restored_log_does_not_hold_is_told_and_gets_no_other_events(
    events: "EventStoreServiceAsyncStub",
    channel: grpc.aio.Channel,
    restorable: Restorable,
    way: str,
) -> None:
    await append(events, SHARED)
    if way == "rename":
        await restorable.save()
        await until_serving(channel)
    seen = await incarnation_of(events)
    async with (
        following(events) as of_log,
        following(events, pb.ReadRequest(stream="s")) as of_stream,
    ):
        await append(events, LOST - SHARED)
        assert await of_log.until(LOST) == await of_stream.until(LOST) == list(range(1, LOST + 1))

        await getattr(restorable, way)()

        for follower in (of_log, of_stream):
            error = await follower.until_over()
            assert error is not None
            assert grpc_errors.from_rpc_error(error).reason == "LOG_REPLACED"
            assert follower.positions == list(range(1, LOST + 1))

    await until_serving(channel)
    assert await incarnation_of(events) != seen
    beyond = pb.ReadRequest(from_position=LOST + 1, follow=True)
    assert (await refusal(events, beyond))[0] == "BEYOND_END"
    assert await append(events, LOST) == SHARED + LOST
    for lost in (
        pb.ReadRequest(from_position=LOST + 1, incarnation=seen),
        pb.ReadRequest(from_position=LOST + 1, incarnation=seen, follow=True),
        pb.ReadRequest(stream="s", from_revision=LOST, incarnation=seen),
        pb.ReadRequest(stream="s", from_revision=LOST, incarnation=seen, follow=True),
    ):
        assert await refusal(events, lost) == ("LOG_REPLACED", str(SHARED))


async def test_who_had_come_no_further_than_a_restored_log_goes_on_in_it(
    events: "EventStoreServiceAsyncStub", channel: grpc.aio.Channel, restorable: Restorable
) -> None:
    await append(events, SHARED)
    await restorable.save()
    await until_serving(channel)
    seen = await incarnation_of(events)
    await append(events, LOST - SHARED)
    await restorable.rename()
    await until_serving(channel)

    log = pb.ReadRequest(from_position=SHARED + 1, incarnation=seen)
    stream = pb.ReadRequest(stream="s", from_revision=SHARED, incarnation=seen)
    plain = pb.ReadRequest(from_position=SHARED + 1)
    async with (
        following(events, log) as of_log,
        following(events, stream) as of_stream,
        following(events, plain) as of_nobody,
    ):
        assert await append(events, 1) == SHARED + 1
        for follower in (of_log, of_stream, of_nobody):
            assert await follower.until(1) == [SHARED + 1]


@pytest.mark.parametrize("way", ["rename", "cut"])
async def test_what_a_restored_log_does_not_hold_is_in_nobodys_way(
    events: "EventStoreServiceAsyncStub",
    channel: grpc.aio.Channel,
    restorable: Restorable,
    way: str,
) -> None:
    unused = pb.Filter(queries=[pb.Query(tags=["name:ada"])])
    taking = append_of("s")
    taking.events[0].tags.append("name:ada")
    taking.preconditions.add(no_match=pb.NoMatch(filter=unused))
    await append(events, SHARED)
    if way == "rename":
        await restorable.save()
        await until_serving(channel)
    await events.Append(taking)
    await append(events, LOST - SHARED)
    await (restorable.rename() if way == "rename" else restorable.cut())
    await until_serving(channel)

    taking.events[0].ClearField("id")
    response = await events.Append(taking)

    assert response.placements[0].position == SHARED + 1


@pytest.mark.parametrize("way", ["rename", "cut"])
async def test_a_decision_on_a_log_that_was_replaced_is_refused(
    events: "EventStoreServiceAsyncStub",
    channel: grpc.aio.Channel,
    restorable: Restorable,
    way: str,
) -> None:
    def decided(after: int) -> pb.AppendRequest:
        unused = pb.Filter(queries=[pb.Query(tags=["name:ada"])])
        request = append_of("s")
        request.preconditions.add(
            no_match=pb.NoMatch(filter=unused, after_position=after, incarnation=read_in)
        )
        return request

    await append(events, SHARED)
    if way == "rename":
        await restorable.save()
        await until_serving(channel)
    await append(events, LOST - SHARED)
    read_in = await incarnation_of(events)
    await events.Append(decided(after=LOST))
    await (restorable.rename() if way == "rename" else restorable.cut())
    await until_serving(channel)
    await append(events, LOST - SHARED)

    await events.Append(decided(after=SHARED))
    await events.Append(decided(after=0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events.Append(decided(after=SHARED + 1))

    error = grpc_errors.from_rpc_error(caught.value)
    assert (error.reason, error.metadata["shared_position"]) == ("LOG_REPLACED", str(SHARED))


@pytest.mark.parametrize("way", ["rename", "cut"])
async def test_a_decision_on_an_event_that_a_stream_lost_is_refused(
    events: "EventStoreServiceAsyncStub",
    channel: grpc.aio.Channel,
    restorable: Restorable,
    way: str,
) -> None:
    def decided(stream: str, revision: int) -> pb.AppendRequest:
        request = append_of("decided")
        request.preconditions.add(stream=stream, revision=revision, incarnation=read_in)
        return request

    await append(events, SHARED - 1)
    await append(events, 1, stream="kept")
    if way == "rename":
        await restorable.save()
        await until_serving(channel)
    await append(events, LOST - SHARED)
    read_in = await incarnation_of(events)
    await (restorable.rename() if way == "rename" else restorable.cut())
    await until_serving(channel)
    await append(events, LOST - SHARED)

    await events.Append(decided("kept", 0))
    with pytest.raises(grpc.aio.AioRpcError) as beyond:
        await events.Append(decided("s", LOST - 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events.Append(decided("s", LOST - 2))

    assert grpc_errors.from_rpc_error(beyond.value).reason == "PRECONDITION_FAILED"
    error = grpc_errors.from_rpc_error(caught.value)
    assert (error.reason, error.metadata["shared_position"]) == ("LOG_REPLACED", str(SHARED))


async def test_an_incarnation_that_the_log_never_had_is_refused(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await append(events, 2)

    foreign = pb.ReadRequest(from_position=2, incarnation="0123456789abcdef")

    assert await refusal(events, foreign) == ("LOG_REPLACED", "0")


async def test_revisions_go_on_where_the_restored_log_ends(
    events: "EventStoreServiceAsyncStub", channel: grpc.aio.Channel, restorable: Restorable
) -> None:
    await append(events, SHARED)
    await restorable.save()
    await until_serving(channel)
    await append(events, LOST - SHARED)
    await append(events, 1, stream="lost")
    await restorable.rename()
    await until_serving(channel)

    response = await events.Append(append_of("s", "lost"))

    assert [(one.position, one.revision) for one in response.placements] == [
        (SHARED + 1, SHARED),
        (SHARED + 2, 0),
    ]


async def test_followers_who_lost_nothing_go_on_when_another_server_takes_over(
    tmp_path: Path, authority: Authority
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data")
    with postgres:
        async with (
            built(development(postgres.url, authority)) as server,
            running(server, "127.0.0.1:0") as port,
            open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
        ):
            events = EventStoreServiceStub(channel)
            await until_serving(channel)
            await append(events, 3)
            seen = await incarnation_of(events)
            of_stream = pb.Filter(queries=[pb.Query(stream_prefix="s")])
            async with (
                following(events) as follower,
                following(events, pb.ReadRequest(filter=of_stream)) as filtered,
            ):
                assert await follower.until(3) == [1, 2, 3]
                assert await filtered.until(3) == [1, 2, 3]

                await asyncio.to_thread(_begin_a_timeline, postgres)
                await until_serving(channel)

                async def is_parted() -> bool:
                    try:
                        return await incarnation_of(events) != seen
                    except grpc.aio.AioRpcError:
                        return False

                await eventually(is_parted)
                assert await append(events, 1, "passed-over") == 4
                assert await append(events, 1) == 5
                assert await follower.until(5) == [1, 2, 3, 4, 5]
                assert await filtered.until(4) == [1, 2, 3, 5]
            request = pb.ReadRequest(from_position=4, incarnation=seen)
            async with following(events, request) as resumed:
                assert await resumed.until(2) == [4, 5]
            lost = pb.ReadRequest(from_position=5, incarnation=seen)
            assert await refusal(events, lost) == ("LOG_REPLACED", "3")


async def test_a_snapshot_of_the_disks_is_noticed_although_who_forgot_nothing_is_not_the_first(
    tmp_path: Path, authority: Authority
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data")
    with postgres:
        settings = development(postgres.url, authority)
        async with (
            built(settings) as server,
            running(server, "127.0.0.1:0") as port,
            open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
        ):
            events = EventStoreServiceStub(channel)
            await until_serving(channel)
            await append(events, SHARED)
            await asyncio.to_thread(_save_disks, postgres)
            await until_serving(channel)
            await append(events, LOST - SHARED)
            seen = await incarnation_of(events)

            await asyncio.to_thread(_bring_disks_back, postgres)
            async with (
                built(settings) as other,
                running(other, "127.0.0.1:0") as other_port,
                open_channel(f"127.0.0.1:{other_port}", bearer=authority.bearer) as other_channel,
            ):
                await until_serving(other_channel)
                assert await append(EventStoreServiceStub(other_channel), LOST) == SHARED + LOST
            await until_serving(channel)

            lost = pb.ReadRequest(from_position=LOST + 1, incarnation=seen)
            assert (await refusal(events, lost))[0] == "LOG_REPLACED"


def _save_disks(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    shutil.copytree(postgres.data_dir, postgres.data_dir.with_name("saved"))
    postgres.start()


def _bring_disks_back(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    for entry in postgres.data_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(postgres.data_dir.with_name("saved"), postgres.data_dir, dirs_exist_ok=True)
    postgres.start()


def _begin_a_timeline(postgres: EmbeddedPostgres) -> None:
    """What promotion does: recover to the end of what there is, and go on as another timeline."""
    postgres.stop()
    (postgres.data_dir / "recovery.signal").touch()
    with (postgres.data_dir / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    postgres.start()
