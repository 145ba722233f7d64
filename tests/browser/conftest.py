"""A whole girih, a window, and the people who look at it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from cli.local.postgres import EmbeddedPostgres
from tests.browser.console import NOTE_BREACHES, Console
from tests.browser.people import Furnished, Person, furnish, invite, register
from tests.e2e.chromium import browser
from tests.processes import PATIENT, System, own_postgres, running_system

ORDINARY = "by Ada"


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
def owner(system: System) -> Iterator[Person]:
    with closing(register(system.url, "Ada Lovelace", "Analytical Works")) as person:
        yield person


@pytest.fixture(scope="package")
def furnished(owner: Person) -> Furnished:
    """What is in the owner's tenant."""
    return furnish(owner, ORDINARY)


@pytest.fixture(scope="package")
def viewer(owner: Person, system: System) -> Iterator[Person]:
    """Somebody who may look at the owner's tenant."""
    with closing(invite(owner, system.url, "Grace Hopper")) as person:
        yield person


@pytest.fixture(scope="package")
def stranger(system: System) -> Iterator[Person]:
    """The owner of another tenant, in which nothing is."""
    with closing(register(system.url, "Mallory Strange", "Elsewhere")) as person:
        yield person


@pytest.fixture(scope="module")
def console(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The console with nobody logged in, of this file's tests."""
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        page.before_each_page(NOTE_BREACHES)
        page.watch()
        page.resize(1280, 900)
        yield Console(page, system.url)


@pytest.fixture
def inside(console: Console, owner: Person) -> None:
    """The owner is logged in, on a wide screen, and nothing was complained of."""
    console.page.resize(1280, 900)
    console.enter(owner)
    console.problems()
