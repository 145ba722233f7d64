"""Everyone who serves the contract of the event store: the service, and the one in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from girih.testing import MemoryServer
from services.events.app import built
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.contract.calling import Callers
from tests.events.serving import development, until_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub


@dataclass(frozen=True)
class Served:
    """Somebody who serves the contract."""

    address: str
    callers: Callers


@asynccontextmanager
async def in_memory() -> AsyncIterator[Served]:
    with MemoryServer() as server:
        callers = Callers(
            lambda tenant, sub, scopes: server.token(tenant, actor=sub, scopes=scopes)
        )
        yield Served(server.address, callers)


@asynccontextmanager
async def in_database(url: str, authority: Authority) -> AsyncIterator[Served]:
    settings = development(url, authority)
    callers = Callers(
        lambda tenant, sub, scopes: (
            authority.token(tenant, sub=sub)
            if scopes is None
            else authority.token(tenant, scopes, sub=sub)
        )
    )
    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        address = f"127.0.0.1:{port}"
        async with open_channel(address) as channel:
            await until_serving(channel)
        yield Served(address, callers)


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Of a database for the service; empty for the server in memory, which needs none."""
    if request.param == "memory":
        return ""
    found: str = request.getfixturevalue("migrated_url")
    return found


@pytest.fixture
async def served(url: str, authority: Authority) -> AsyncIterator[Served]:
    async with in_database(url, authority) if url else in_memory() as served:
        yield served


@pytest.fixture
def address(served: Served) -> str:
    return served.address


@pytest.fixture
def callers(served: Served) -> Callers:
    """Whoever the tests call as."""
    return served.callers


@pytest.fixture
async def channel(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service, for a user of the tenant "default" unless a call says else."""
    async with open_channel(served.address, bearer=served.callers.token) as channel:
        yield channel


@pytest.fixture
def events(channel: grpc.aio.Channel) -> "EventStoreServiceAsyncStub":
    return EventStoreServiceStub(channel)


@pytest.fixture
def snapshots(channel: grpc.aio.Channel) -> "SnapshotServiceAsyncStub":
    return SnapshotServiceStub(channel)
