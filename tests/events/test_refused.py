"""PostgreSQL answers and refuses, for whatever reason. The process stays, says so, and goes on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import grpc.aio
import pytest
from pydantic import SecretStr

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.events.postgres.isolation import ROLE
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import Server, running
from services.plumbing.postgres.migrations import migrate
from tests.authority import Authority
from tests.events.following import following
from tests.events.making import append_of
from tests.events.serving import development, eventually, is_serving, until_serving
from tests.roles import login, url_as

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

SERVICE = "girih.events.v1.EventStoreService"


@dataclass(frozen=True)
class Refusable:
    """A service on a database of its own, as a login of its own, which can be refused."""

    postgres: EmbeddedPostgres
    name: str
    login: str
    server: Server
    channel: grpc.aio.Channel
    events: "EventStoreServiceAsyncStub"

    async def execute(self, statement: str, database: str = "") -> None:
        """As the superuser, in the test's own database unless another one is named."""
        sql = statement.format(database=self.name, login=self.login, role=ROLE)
        await asyncio.to_thread(self.postgres.execute, sql, database=database or self.name)

    async def disconnect(self) -> None:
        """End what is connected, as time or a restart would."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = '{database}' AND pid <> pg_backend_pid()",
            DATABASE,
        )

    async def serves(self) -> bool:
        return await is_serving(self.channel, SERVICE)

    async def is_away(self) -> bool:
        return not await self.serves()


@pytest.fixture
async def refusable(
    postgres: EmbeddedPostgres, database_url: str, authority: Authority
) -> AsyncIterator[Refusable]:
    await migrate(database_url, MIGRATIONS, schema=SCHEMA)
    with login(postgres, ROLE) as name:
        settings = development(url_as(database_url, name), authority).model_copy(
            update={
                "migration_database_url": SecretStr(database_url),
                "append_retry_s": 1.0,
                "lock_timeout_s": 3.0,
            }
        )
        async with (
            built(settings) as server,
            running(server, "127.0.0.1:0") as port,
            open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
        ):
            await until_serving(channel)
            database = urlsplit(database_url).path.removeprefix("/")
            events = EventStoreServiceStub(channel)
            yield Refusable(postgres, database, name, server, channel, events)


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        (
            "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
            "ALTER DATABASE {database} ALLOW_CONNECTIONS true",
        ),
        (
            "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO PUBLIC",
        ),
        ("REVOKE {role} FROM {login}", "GRANT {role} TO {login}"),
        ("ALTER ROLE {login} NOLOGIN", "ALTER ROLE {login} LOGIN"),
        (
            "ALTER DATABASE {database} CONNECTION LIMIT 0",
            "ALTER DATABASE {database} CONNECTION LIMIT -1",
        ),
    ],
)
async def test_whatever_connections_are_refused_for_the_process_says_so_and_comes_back(
    refusable: Refusable, refuse: str, allow: str
) -> None:
    await refusable.events.Append(append_of("s"))
    async with following(refusable.events) as follower:
        await follower.until(1)
        await refusable.execute(refuse, DATABASE)
        await refusable.disconnect()
        await eventually(refusable.is_away)

        status = await refusable.events.GetDatabaseStatus(pb.GetDatabaseStatusRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refusable.events.Append(append_of("s"))
        await refusable.execute(allow, DATABASE)
        await eventually(refusable.serves)
        await refusable.events.Append(append_of("s"))

        assert not status.reachable
        assert caught.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
        assert await follower.until(2) == [1, 2]
    assert refusable.server.tasks.failure is None


@pytest.mark.parametrize(
    ("forbid", "allow"),
    [
        (
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "ALTER DATABASE {database} RESET default_transaction_read_only",
        ),
        (
            "ALTER ROLE {login} SET default_transaction_read_only = on",
            "ALTER ROLE {login} RESET default_transaction_read_only",
        ),
    ],
)
async def test_while_nothing_may_be_written_health_says_so_and_appends_go_on_at_once_behind_it(
    refusable: Refusable, forbid: str, allow: str
) -> None:
    await refusable.events.Append(append_of("s"))
    # Some sessions begin before it and some while it lasts.
    await asyncio.gather(*[refusable.events.GetLog(pb.GetLogRequest()) for _ in range(40)])
    await refusable.execute(forbid)
    await eventually(refusable.is_away)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await refusable.events.Append(append_of("s"))
    still_read = await refusable.events.GetLog(pb.GetLogRequest())

    await refusable.execute(allow, DATABASE)
    appended = await refusable.events.Append(append_of("s"))

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert still_read.head_position == 1
    assert appended.placements[0].position == 2
    await eventually(refusable.serves)


async def test_an_append_behind_a_lock_of_the_table_is_told_that_the_database_is_busy(
    refusable: Refusable,
) -> None:
    await refusable.events.Append(append_of("s"))
    url = url_as(refusable.postgres.url, "girih").replace(f"/{DATABASE}?", f"/{refusable.name}?")
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("LOCK TABLE events.records IN SHARE ROW EXCLUSIVE MODE")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refusable.events.Append(append_of("s"))
    await other.close()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert grpc_errors.from_rpc_error(caught.value).reason == "DATABASE_BUSY"
    await refusable.events.Append(append_of("s"))
