"""What the tests of the lattice service share: compiled kernels, and an event store."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from services.lattice.state.streams import acting_bearer
from services.plumbing import correlation
from services.plumbing.auth.keys import SigningKeyFile
from services.plumbing.auth.tokens import Issuer
from services.plumbing.grpc.channel import open_channel
from services.policy import LATTICE
from tests.authority import Authority
from tests.lattice.callers import call_of
from tests.processes import PATIENT, Process, ending, events_process

if TYPE_CHECKING:
    from tests.lattice.serving import Client


@pytest.fixture(scope="session")
def _event_store(
    postgres: EmbeddedPostgres, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, str]]:
    name = f"lattice_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    folder = tmp_path_factory.mktemp("events")
    process, address = events_process(url, folder, **PATIENT, **authority.environ)
    with ending(process):
        yield process, address


@pytest.fixture
def event_store(_event_store: tuple[Process, str]) -> tuple[Process, str]:
    """An event store that serves, and its address. Tests may end it: the next starts it again."""
    process, _ = _event_store
    if not process.is_running:
        process.start()
        process.wait_ready()
    return _event_store


@pytest.fixture
async def events_channel(
    event_store: tuple[Process, str], authority: Authority, _calling: None
) -> AsyncIterator[grpc.aio.Channel]:
    """As the service opens it: calls carry its own token, for who makes the current call."""
    issuer = Issuer(SigningKeyFile(authority.lattice_key), LATTICE)
    async with open_channel(event_store[1], bearer=acting_bearer(issuer)) as channel:
        yield channel


@pytest.fixture
def tenant() -> str:
    """A tenant that nobody else uses: its log is empty."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
def _calling(tenant: str) -> Iterator[None]:
    """A user of the tenant makes the calls of the test."""
    with correlation.bind(call_of(tenant)):
        yield


@pytest.fixture
async def client(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> AsyncIterator["Client"]:
    """A caller of a lattice service that serves."""
    from tests.lattice.serving import replica, until

    async with replica(event_store[1], authority, tenant) as client:
        await until(client.is_serving)
        yield client
