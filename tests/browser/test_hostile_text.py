"""Texts that would run if anything ran texts: in whatever people and programs can name."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.browser.console import Console, addresses
from tests.browser.people import Person, furnish, register
from tests.e2e.chromium import in_full
from tests.processes import System

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), in_full]

CORPUS = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "\"'><svg onload=window.hacked=1>",
    "</textarea></title><script>window.hacked=1</script>",
    "javascript:window.hacked=1",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<a href=javascript:window.hacked=1>x</a>",
    "${window.hacked=1}{{constructor.constructor('window.hacked=1')()}}",
    "<math><mtext><style><img src=x onerror=window.hacked=1></style></mtext></math>",
    "%3Cscript%3Ewindow.hacked=1%3C/script%3E\u202e\u2066",
)


@pytest.fixture(scope="module")
def attacker(system: System) -> Iterator[Person]:
    with closing(register(system.url, f"Eve {CORPUS[1]}"[:100], CORPUS[0])) as person:
        yield person


def test_nothing_runs_that_is_written_in_anything(console: Console, attacker: Person) -> None:
    of = furnish(attacker, " ".join(CORPUS)[:100])
    for text in CORPUS:
        event = {"stream": of.stream, "type": text[:255], "json": {"of": text, text: text}}
        attacker.append({**event, "tags": [text[:255]], "metadata": {"of": text}})
    drawn: dict[str, Any] = {"type": "script", "props": {"children": "window.hacked=1"}, "__k": []}
    last = attacker.append({"stream": of.stream, "type": "a node", "json": drawn})[0]
    console.enter(attacker)

    for address in [*addresses(of).values(), f"#/events/{last}", f"#/streams/{of.stream}?event=1"]:
        console.show(address)
        assert not console.page.run("'hacked' in window"), address
        for way in ("Raw", "curl", "Python"):
            if way in console.buttons():
                console.press(way)
    for position in range(1, last + 1):
        console.show(f"#/events/{position}")

    assert not console.page.run("'hacked' in window")
    assert console.problems() == []


def test_an_address_that_somebody_was_sent_runs_nothing(console: Console, attacker: Person) -> None:
    console.enter(attacker)
    for text in CORPUS:
        for page in ("streams", "traces", "schemas", "groups", "events", "nowhere"):
            console.page.run(f"location.hash = '#/{page}/' + encodeURIComponent({text!r})")
            console.page.wait_for("!document.querySelector('main .loading')")

    assert not console.page.run("'hacked' in window")
    assert [one for one in console.problems() if "40" not in one] == []
