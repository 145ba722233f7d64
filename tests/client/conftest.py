"""An event store, something between it and its client, and the client."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.client import EventStoreClient, RetryPolicy
from tests.authority import Authority
from tests.client.between import Between, between
from tests.processes import PATIENT, ending, events_process, is_serving

RETRY = RetryPolicy(timeout_s=60.0, attempt_timeout_s=20.0, pause_s_min=0.01, pause_s_max=0.1)


@pytest.fixture(scope="session")
def address(
    postgres: EmbeddedPostgres, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where an event store serves: another process, and every test has a tenant of its own."""
    name = f"client_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    process, address = events_process(
        url, tmp_path_factory.mktemp("client-events"), **authority.environ, **PATIENT
    )
    with ending(process):
        process.start()
        process.wait_ready()
        yield address


@pytest.fixture
def tenant() -> str:
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
async def events(
    address: str, authority: Authority, tenant: str
) -> AsyncIterator[EventStoreClient]:
    """A client of an event store that serves."""
    token = authority.token(tenant)
    async with EventStoreClient.connect(address, token=token, retry=RETRY) as client:
        yield client


@pytest.fixture
async def broken(address: str, events: EventStoreClient) -> AsyncIterator[Between]:
    """A server before the event store whose answers tests can break."""
    async with between(address) as server:
        yield server


@pytest.fixture
async def patient(
    broken: Between, authority: Authority, tenant: str
) -> AsyncIterator[EventStoreClient]:
    """A client of the same log through `broken`."""

    def token() -> str:
        return authority.token(tenant)

    async with EventStoreClient.connect(broken.address, token=token, retry=RETRY) as client:
        yield client


@pytest.fixture
async def lattice_address(address: str, authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    """Where a lattice service serves, in the process of the tests."""
    from services.lattice.app import built
    from services.lattice.compiler import configure_compiler
    from services.lattice.settings import Settings
    from services.plumbing.grpc.server import running

    configure_compiler(None, os.environ)
    environ = {
        "GIRIH_ENVIRONMENT": "development",
        "LATTICE_EVENTS_ADDRESS": address,
        "LATTICE_EVENTS_HEALTH_INTERVAL_S": "0.1",
        "LATTICE_JOBS_INTERVAL_S": "0.1",
        "LATTICE_SHUTDOWN_GRACE_S": "1",
        "LATTICE_STORAGE": str(tmp_path / "lattice"),
    }
    async with (
        built(Settings.from_environ(environ | authority.environ)) as server,
        running(server, "127.0.0.1:0") as port,
    ):
        served = f"127.0.0.1:{port}"
        while not await asyncio.to_thread(is_serving, served):  # noqa: ASYNC110 - as probes do
            await asyncio.sleep(0.02)
        yield served
