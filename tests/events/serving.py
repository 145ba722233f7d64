"""Waits for databases and services to be there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.events.postgres.database import Database
from services.events.postgres.placed import Places
from services.events.postgres.store import PostgresEventStore
from services.events.settings import DEFAULT_PLACE, Settings
from tests.authority import Authority
from tests.processes import PATIENT

_POLL_S_MIN = 0.02
_POLL_S_MAX = 0.2


def development(database_url: str, authority: Authority, **environ: str) -> Settings:
    """The settings of a process in development."""
    response = {"GIRIH_ENVIRONMENT": "development", "DATABASE_URL": database_url}
    return Settings.from_environ(PATIENT | response | authority.environ | environ)


def production(database_url: str, authority: Authority, **environ: str) -> Settings:
    """The settings of a process in production, which migrates nothing unless it is told to."""
    response = {"GIRIH_TRANSPORT": "mesh", "DATABASE_URL": database_url}
    return Settings.from_environ(response | authority.environ | environ)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """A database, migrated and connected to inside the block."""
    database = Database(settings)
    keeping = asyncio.create_task(database.keep_open())

    async def is_open() -> bool:
        if keeping.done():
            await keeping
        return (await database.status()).latency_ms is not None

    try:
        await eventually(is_open)
        yield database
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


def store_of(database: Database) -> PostgresEventStore:
    """The logs in one database, which are nowhere else."""
    return PostgresEventStore(Places({DEFAULT_PLACE: database}))


async def until_serving(channel: grpc.aio.Channel, service: str = "") -> None:
    await eventually(lambda: is_serving(channel, service))


async def is_serving(channel: grpc.aio.Channel, service: str = "") -> bool:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Return once `holds` answers True.

    Asks the less often the longer it waits, and is a tenth of that late at most: who is asked
    every moment answers instead of getting ready.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.timeout(within_s):
        while not await holds():
            waited_s = loop.time() - began_s
            await asyncio.sleep(min(max(_POLL_S_MIN, waited_s / 10), _POLL_S_MAX))
