"""Two replicas of the service on one database, in a loop that runs only while they are called.

They log in as who may not take payloads off the disk: when that happens is the machine's to say.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import uvloop

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.ids import TenantId
from services.events import record
from services.events.app import built
from services.events.postgres import taking
from services.events.postgres.database import MIGRATIONS, SCHEMA
from services.events.postgres.isolation import ROLE
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from services.plumbing.postgres.migrations import migrate
from tests.authority import Authority
from tests.events.model.calls import Metadata, Replica
from tests.events.model.faults import Fault
from tests.events.serving import development, until_serving
from tests.roles import login, url_as

_MAKE_OLDER = """
    UPDATE events.records SET recorded_at = recorded_at - interval '1 day'
    WHERE log = (SELECT log FROM events.logs WHERE tenant = $1)
"""
"""Of a log; on a connection without triggers."""

_NO_TIMEOUTS = {
    "EVENTS_CALL_TIMEOUT_S": "600",
    "EVENTS_COMMAND_TIMEOUT_S": "120",
    "EVENTS_STATEMENT_TIMEOUT_S": "100",
    "EVENTS_LOCK_TIMEOUT_S": "60",
    "EVENTS_IDLE_TRANSACTION_TIMEOUT_S": "60",
    "EVENTS_POOL_ACQUIRE_TIMEOUT_S": "60",
    "EVENTS_DATABASE_CONNECT_TIMEOUT_S": "60",
}
"""What others do on the machine is not what is compared: a sequence that ran into a bound of time
has proved nothing. Nothing runs between two calls, either."""

T = TypeVar("T")


@dataclass
class Replicas:
    """What the machine calls."""

    loop: asyncio.AbstractEventLoop
    each: Sequence[Replica]
    authority: Authority
    keeper: taking.Taking
    owner: asyncpg.Connection
    """May change what nobody else may, unseen by triggers."""

    left: Counter[str] = field(default_factory=Counter)
    """Sequences that were broken off, as something took too long, by what that said."""

    def __post_init__(self) -> None:
        self.tenant_count = 0

    def next_tenant(self) -> tuple[str, Metadata]:
        """A log that nobody has used, and what its owner's calls carry."""
        self.tenant_count += 1
        tenant = f"model-{self.tenant_count}"
        return tenant, self.authority.metadata(tenant)

    def run(self, called: Awaitable[T]) -> T:
        """What is answered; nothing else runs before and behind."""

        async def answered() -> T:
            return await called

        return self.loop.run_until_complete(answered())

    async def take(self, tenant: str) -> None:
        """Take all payloads of a log that are to go."""
        log = TenantId(tenant)
        while await self.keeper.take_redacted(log):
            pass
        async for stream in self.keeper.streams_due(log):
            while await self.keeper.take_of_stream(log, stream):
                pass

    async def make_older(self, tenant: str) -> None:
        """Make all events of a log a day older: their ages cannot be waited for."""
        await self.owner.execute(_MAKE_OLDER, tenant)


@contextmanager
def two_replicas(
    postgres: EmbeddedPostgres, authority: Authority, fault: Fault | None = None
) -> Iterator[Replicas]:
    """Two on a database of their own, with `fault` in it."""
    name = f"model_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        # Calls are made between runs of the loop, and must find it.
        asyncio.set_event_loop(loop)
        runner.run(migrate(url, MIGRATIONS, schema=SCHEMA))
        if fault is not None:
            runner.run(fault(url))
        with login(postgres, ROLE) as user:
            settings = development(url_as(url, user), authority, **_NO_TIMEOUTS)
            started: asyncio.Future[Replicas] = loop.create_future()
            stopping = asyncio.Event()
            serving = loop.create_task(_serve(settings, url, authority, started, stopping))
            try:
                waited: list[asyncio.Future[Any]] = [started, serving]
                loop.run_until_complete(asyncio.wait(waited, return_when="FIRST_COMPLETED"))
                if serving.done():
                    serving.result()
                yield started.result()
            finally:
                stopping.set()
                loop.run_until_complete(serving)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _serve(
    settings: Settings,
    owner_url: str,
    authority: Authority,
    started: "asyncio.Future[Replicas]",
    stopping: asyncio.Event,
) -> None:
    """Serve with both until told to stop: what is entered in a task is left in it."""
    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(2):
            server = await stack.enter_async_context(built(settings))
            port = await stack.enter_async_context(running(server, "127.0.0.1:0"))
            channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}"))
            await until_serving(channel)
            replicas.append(Replica(channel))
        keeper = await stack.enter_async_context(
            taking.opened(development(owner_url, authority), record.payload_digest)
        )
        owner = await asyncpg.connect(
            owner_url, server_settings={"session_replication_role": "replica"}
        )
        stack.push_async_callback(owner.close)
        started.set_result(Replicas(asyncio.get_running_loop(), replicas, authority, keeper, owner))
        await stopping.wait()
