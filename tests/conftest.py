"""A PostgreSQL and an authority for the tests, and a database for each that asks."""

import os
import secrets
from collections.abc import Iterator

import hypothesis
import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from tests.authority import Authority

# A slow machine fails no right program; and what fails where nobody looks must fail again.
hypothesis.settings.register_profile(
    "girih", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
hypothesis.settings.load_profile("girih")

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""A test's database may lie about durability, except in tests of durability."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose tokens the tests call with."""
    return Authority.create(tmp_path_factory.mktemp("authority") / "keys")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running server of this test run's own."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", options=FAST) as server:
        yield server


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield postgres.url.replace(f"/{DATABASE}?", f"/{name}?")
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
