"""An events process for all tests of the folder, each of which has tenants of its own."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.client.blocking.client import Client
from tests.authority import Authority
from tests.processes import PATIENT, ending, events_process

Open = Callable[[str], Client]


@pytest.fixture(scope="package")
def served(
    postgres: EmbeddedPostgres,
    migrated_name: str,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Where events serves, on a database for all tests here."""
    name = f"carried_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_name} STRATEGY file_copy")
    url = postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    folder = tmp_path_factory.mktemp("events")
    process, address = events_process(url, folder, **PATIENT, **authority.environ)
    with ending(process):
        process.start()
        process.wait_ready()
        yield address
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def opened(served: str, authority: Authority) -> Iterator[Open]:
    """Opens clients for tenants of this test that may do everything."""
    test = secrets.token_hex(4)
    with ExitStack() as clients:

        def open_client(tenant: str) -> Client:
            token = authority.token(f"{tenant}-{test}")
            return clients.enter_context(Client(events=served, token=token))

        yield open_client
