"""Everyone who serves the contract of the event store: the service, and the one in memory."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from girih.testing import MemoryServer
from services.plumbing.grpc.channel import open_channel
from tests.authority import Authority
from tests.contract.calling import Callers
from tests.processes import PATIENT, ending, events_process

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub


@dataclass(frozen=True)
class Served:
    """Somebody who serves the contract."""

    address: str
    callers: Callers


def callers_of(authority: Authority) -> Callers:
    return Callers(
        lambda tenant, sub, scopes: (
            authority.token(tenant, sub=sub)
            if scopes is None
            else authority.token(tenant, scopes, sub=sub)
        )
    )


@contextmanager
def in_memory() -> Iterator[Served]:
    with MemoryServer() as server:
        callers = Callers(
            lambda tenant, sub, scopes: server.token(tenant, actor=sub, scopes=scopes)
        )
        yield Served(server.address, callers)


@pytest.fixture(scope="session")
def memory() -> Iterator[Served]:
    """The one in memory."""
    with in_memory() as served:
        yield served


@pytest.fixture(scope="session")
def service(
    postgres: EmbeddedPostgres, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The service, in a process on a database of its own."""
    name = f"contract_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    folder = tmp_path_factory.mktemp("contract-events")
    process, address = events_process(url, folder, **authority.environ, **PATIENT)
    with ending(process):
        process.start()
        process.wait_ready()
        yield Served(address, callers_of(authority))


@pytest.fixture(params=["memory", "postgres"])
def served(request: pytest.FixtureRequest) -> Served:
    """Each of them in turn. A test calls as a tenant of its own: its log is empty."""
    name = "memory" if request.param == "memory" else "service"
    shared: Served = request.getfixturevalue(name)
    return replace(shared, callers=replace(shared.callers, tenant=f"test-{secrets.token_hex(8)}"))


@pytest.fixture
def address(served: Served) -> str:
    return served.address


@pytest.fixture
def callers(served: Served) -> Callers:
    """Whoever the tests call as."""
    return served.callers


@pytest.fixture
async def channel(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service, for a user of the test's tenant unless a call says else."""
    async with open_channel(served.address, bearer=served.callers.token) as channel:
        yield channel


@pytest.fixture
def events(channel: grpc.aio.Channel) -> "EventStoreServiceAsyncStub":
    return EventStoreServiceStub(channel)


@pytest.fixture
def snapshots(channel: grpc.aio.Channel) -> "SnapshotServiceAsyncStub":
    return SnapshotServiceStub(channel)
