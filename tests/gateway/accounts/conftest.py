"""Fixtures: an event store, and replicas of accounts on it."""

import secrets
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from services.plumbing.grpc.channel import open_channel
from tests.authority import Authority
from tests.gateway.accounts.replicas import Replica, open_replica
from tests.processes import PATIENT, Process, ending, events_process


@pytest.fixture(scope="session")
def _event_store(
    postgres: EmbeddedPostgres, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, str]]:
    name = f"accounts_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    folder = tmp_path_factory.mktemp("accounts-events")
    process, address = events_process(url, folder, **authority.environ, **PATIENT)
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
async def replica(event_store: tuple[Process, str], authority: Authority) -> AsyncIterator[Replica]:
    async with open_replica(event_store[1], authority) as made:
        yield made


@pytest.fixture
async def other_replica(
    event_store: tuple[Process, str], authority: Authority
) -> AsyncIterator[Replica]:
    """Another process's accounts on the same event store."""
    async with open_replica(event_store[1], authority) as made:
        yield made


@pytest.fixture
async def events_channel(event_store: tuple[Process, str]) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(event_store[1]) as channel:
        yield channel
