"""A log to project, in a whole event store in this process, and a database to keep it in."""

from collections.abc import AsyncIterator

import grpc.aio
import pytest

from girih.client import EventStoreClient
from services.events.app import built
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from services.projections.postgres.store import PostgresProjectionStore
from tests.authority import Authority
from tests.events.serving import development, until_serving
from tests.projections.running import Shop, opened


@pytest.fixture
async def events_address(database_url: str, authority: Authority) -> AsyncIterator[str]:
    settings = development(database_url, authority)
    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def channel(events_address: str, authority: Authority) -> AsyncIterator[grpc.aio.Channel]:
    """To the event store, for the tenant "default"."""
    async with open_channel(events_address, bearer=authority.bearer) as channel:
        await until_serving(channel)
        yield channel


@pytest.fixture
def log(channel: grpc.aio.Channel) -> EventStoreClient:
    """The log of the tenant "default"."""
    return EventStoreClient(channel)


@pytest.fixture
async def store(database_url: str, authority: Authority) -> AsyncIterator[PostgresProjectionStore]:
    async with opened(database_url, authority, [Shop()]) as database:
        yield PostgresProjectionStore(database)
