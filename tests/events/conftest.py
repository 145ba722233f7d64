"""A migrated database, the store on it, and the whole service in this process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.postgres.database import MIGRATIONS, SCHEMA, Database
from services.events.postgres.store import PostgresEventStore
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from services.plumbing.postgres.migrations import migrate
from tests.authority import Authority
from tests.events.serving import development, opened, store_of, until_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """One that has the schema."""
    return migrated_url


@pytest.fixture
def settings(database_url: str, authority: Authority) -> Settings:
    """The settings of a process in development, on a database of its own."""
    return development(database_url, authority)


@pytest.fixture(scope="module")
def shared_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database for the tests of one module, each of which leaves it as it was."""
    name = f"shared_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    asyncio.run(migrate(url, MIGRATIONS, schema=SCHEMA))
    yield url
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database, migrated and connected to."""
    async with opened(settings) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresEventStore:
    return store_of(database)


@pytest.fixture
async def address(settings: Settings) -> AsyncIterator[str]:
    """Where the whole service serves, in this process."""
    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def channel(address: str, authority: Authority) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service, for a user of the tenant "default" unless a call says else."""
    async with open_channel(address, bearer=authority.bearer) as channel:
        await until_serving(channel)
        yield channel


@pytest.fixture
def events(channel: grpc.aio.Channel) -> "EventStoreServiceAsyncStub":
    return EventStoreServiceStub(channel)
