"""A whole girih for the tests of this folder, and one as users start it, each with a PostgreSQL."""

from collections.abc import Iterator

import pytest

from cli.local.postgres import EmbeddedPostgres
from tests.installations import Installation, running
from tests.processes import PATIENT, System, own_postgres, running_system


@pytest.fixture(scope="package")
def postgres_and_system() -> Iterator[tuple[EmbeddedPostgres, System]]:
    """Both, for tests that take the database away."""
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **PATIENT) as running,
    ):
        yield postgres, running


@pytest.fixture(scope="package")
def system(postgres_and_system: tuple[EmbeddedPostgres, System]) -> System:
    return postgres_and_system[1]


@pytest.fixture(scope="package")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One on which `girih up` runs. Tests register whom they need."""
    installation = Installation.made(tmp_path_factory.mktemp("front-door"))
    with running(installation):
        yield installation
