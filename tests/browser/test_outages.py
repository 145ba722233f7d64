"""A page that is left open while girih goes away: it says so, and has lost nothing afterwards."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.local.postgres import EmbeddedPostgres
from tests.browser.console import Console
from tests.browser.people import Person, log_in
from tests.e2e.chromium import in_full
from tests.processes import System

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), in_full]

SHOWN = "[...document.querySelectorAll('.row a')].map((row) => Number(row.dataset.position))"


@pytest.fixture(autouse=True)
def recovered(postgres_and_system: tuple[EmbeddedPostgres, System]) -> Iterator[None]:
    """Whatever a test took away is back behind it, also where it failed: others go on with it."""
    yield
    postgres, system = postgres_and_system
    if not postgres.is_running():
        postgres.start()
    for process in system.processes:
        if not process.is_running:
            process.start()
    for process in system.processes:
        process.wait_ready()


def test_an_open_page_outlives_gateway_events_and_database(
    console: Console,
    owner: Person,
    postgres_and_system: tuple[EmbeddedPostgres, System],
) -> None:
    postgres, system = postgres_and_system
    console.page.resize(1280, 3000)
    console.enter(owner)
    written = owner.append(event(0))
    console.show("#/streams/outlived-1")
    console.page.wait_for(f"{SHOWN}.length === 1")

    for number, process in enumerate((system.gateway, system.events), start=1):
        process.kill()
        console.page.wait_for("!!document.querySelector('.away b')")
        process.start()
        process.wait_ready()
        written += again(system, owner.email, number)
        console.page.wait_for(f"{SHOWN}.length === {len(written)}")
    postgres.stop()
    console.page.wait_for("!!document.querySelector('.away b')")
    postgres.start()
    system.gateway.wait_ready()
    written += again(system, owner.email, 3)

    console.page.wait_for(f"{SHOWN}.length === {len(written)}")
    assert console.page.run(SHOWN) == written
    console.page.wait_for("!document.querySelector('.away b')")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")


def test_an_outage_while_a_token_expires_logs_nobody_out(
    console: Console, owner: Person, system: System
) -> None:
    console.enter(owner)
    console.show("#/usage")
    system.events.kill()
    console.page.wait_for("!!document.querySelector('.away b')")
    console.page.run(
        "import('/shared/session.js')"
        ".then(({session}) => { Object.assign(session, {access: 'over', expires: 0}); })"
    )
    console.page.run("location.hash = '#/lattices'")
    console.page.wait_for("!!document.querySelector('main .failure, .login form')")

    system.events.start()
    system.events.wait_ready()

    console.page.wait_for("!document.querySelector('.away b')")
    console.page.wait_for("!!document.querySelector('.who')")
    console.page.wait_for("!document.querySelector('main .failure')")


def test_sessions_that_nobody_could_end_are_not_taken_for_ended(
    console: Console, owner: Person, system: System
) -> None:
    console.enter(owner)
    console.show("#/security")
    system.events.kill()
    console.page.wait_for("!!document.querySelector('.away b')")

    console.press("Log out everywhere")
    console.page.wait_for("!!document.querySelector('dialog form')")
    console.page.run("document.querySelector('dialog form').requestSubmit()")

    console.page.wait_for("!!document.querySelector('dialog .failure, .login form')")
    assert console.page.run("!!document.querySelector('.who')")


def event(number: int) -> dict[str, Any]:
    return {"stream": "outlived-1", "type": "ticked", "json": {"number": number}}


def again(system: System, email: str, number: int) -> list[int]:
    """The position of one event more, as soon as one is taken."""
    while True:
        with (
            contextlib.suppress(httpx.HTTPError),
            contextlib.closing(log_in(system.url, email)) as person,
        ):
            return person.append(event(number))
