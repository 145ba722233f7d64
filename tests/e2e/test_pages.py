"""A short walk through all pages with a real browser; `make test-browser` looks closer."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.browser.console import NOTE_BREACHES, Console, addresses
from tests.browser.people import Person, furnish, register
from tests.e2e.chromium import browser, needs_chromium
from tests.processes import System

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), needs_chromium]


@pytest.fixture
def walker(system: System) -> Iterator[Person]:
    with closing(register(system.url, "Wanda Walker", "Short Walks")) as person:
        yield person


def test_every_page_is_drawn_and_nothing_is_complained_of(
    system: System, walker: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    of = furnish(walker, "by Wanda")
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        page.before_each_page(NOTE_BREACHES)
        page.watch()
        page.resize(1280, 900)
        console = Console(page, system.url)
        console.enter(walker)
        for address in addresses(of).values():
            console.show(address)
            assert console.overflow() <= 0, address
        complaints = console.problems()
        page.open(f"{system.url}/docs")
        page.wait_for("!!document.querySelector('main h2')")
        complaints += console.problems()

    assert complaints == []
