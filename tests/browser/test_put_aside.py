"""A tab that is put aside for another one: it keeps no connection, and goes on where it was."""

from typing import Any

import pytest

from tests.browser.console import Console
from tests.browser.people import Person
from tests.e2e.chromium import in_full

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("inside"),
    in_full,
]

NOTE_STREAMS = """
(() => {
  window.streams = [];
  const send = window.fetch;
  window.fetch = (address, how) => {
    if (how?.headers?.Accept === 'text/event-stream') streams.push(how.signal);
    return send(address, how);
  };
})()
"""
OPEN_STREAMS = "streams.filter((one) => !one.aborted).length"
HELD = "document.querySelector('.bar').textContent"
TO_THE_END = "document.querySelector('.window').scrollTop = 1e9"


def wait_a_second(console: Console) -> None:
    """As long as anything takes that should not happen."""
    since_ms = console.page.run("performance.now()")
    console.page.wait_for(f"performance.now() > {since_ms + 1000}")


def ticked(stream: str, count: int) -> list[dict[str, Any]]:
    return [{"stream": stream, "type": "ticked", "json": {"number": one}} for one in range(count)]


def test_a_log_misses_nothing_that_came_while_it_was_put_aside(
    console: Console, owner: Person
) -> None:
    owner.append(*ticked("aside-1", 3))
    console.page.run(NOTE_STREAMS)
    console.show("#/streams/aside-1")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")

    console.page.put_aside()
    console.page.wait_for(f"{OPEN_STREAMS} === 0")
    owner.append(*ticked("aside-1", 300))
    console.page.bring_back()

    console.page.wait_for(f"/303 events/.test({HELD})")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")
    owner.append(*ticked("aside-1", 1))
    console.page.wait_for(f"/304 events/.test({HELD})")


def test_what_has_come_and_was_not_drawn_yet_is_not_lost(console: Console, owner: Person) -> None:
    owner.append(*ticked("aside-6", 3))
    console.show("#/streams/aside-6")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")
    console.page.run(
        "window.frames = []; window.draw = window.requestAnimationFrame;"
        " window.requestAnimationFrame = (frame) => frames.push(frame); 1"
    )
    owner.append(*ticked("aside-6", 4))
    console.page.wait_for("frames.length > 0")
    wait_a_second(console)

    console.page.put_aside()
    console.page.run(
        "window.requestAnimationFrame = window.draw; for (const frame of frames) frame(0); 1"
    )
    console.page.bring_back()

    console.page.wait_for(f"/7 events/.test({HELD})", within_s=15)


def test_what_was_being_read_when_the_tab_was_put_aside_is_read_on(
    console: Console, owner: Person
) -> None:
    for count in (200, 200, 51):
        owner.append(*ticked("aside-2", count))
    console.show("#/streams/aside-2")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")
    console.press("Oldest")
    console.page.wait_for(f"/200 events/.test({HELD})")

    console.page.run(TO_THE_END)
    console.page.put_aside()
    console.page.bring_back()

    console.page.wait_for(f"({TO_THE_END}, /451 events/.test({HELD}))")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")


def test_a_log_that_was_paused_or_looked_at_elsewhere_stays_so(
    console: Console, owner: Person
) -> None:
    owner.append(*ticked("aside-3", 5))
    console.show("#/streams/aside-3")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")
    console.press("Pause")

    console.page.put_aside()
    owner.append(*ticked("aside-3", 5))
    console.page.bring_back()
    console.page.run("new Promise((resolve) => requestAnimationFrame(() => resolve(1)))")

    assert "Paused" in console.text(".state")
    assert "5 events" in console.text(".bar")
    console.press("Follow")
    console.page.wait_for(f"/10 events/.test({HELD})")


def test_a_page_that_was_opened_aside_reads_once_it_is_looked_at(
    console: Console, owner: Person
) -> None:
    owner.append(*ticked("aside-4", 7))
    console.show("#/health")
    console.page.put_aside()
    console.page.run(f"{NOTE_STREAMS}, location.hash = '#/streams/aside-4', 1")
    console.page.wait_for("!!document.querySelector('.bar')")
    wait_a_second(console)

    assert console.page.run(OPEN_STREAMS) == 0
    console.page.bring_back()

    console.page.wait_for(f"/7 events/.test({HELD})")


def test_a_job_that_is_watched_keeps_no_connection_while_it_is_put_aside(
    console: Console, owner: Person
) -> None:
    lattice_id = owner.post("/v1/lattices", {"shape": [20, 30]})["latticeId"]
    life = {"cellularAutomaton": {"rule": "B3/S23", "density": 0.4}}
    forever = {"simulation": life, "steps": "1000000000", "discardSteps": "999999999"}
    job_id = owner.post(f"/v1/lattices/{lattice_id}/jobs", forever)["jobId"]
    console.page.run(NOTE_STREAMS)
    console.show(f"#/jobs/{job_id}")
    console.page.wait_for(f"{OPEN_STREAMS} === 1")

    console.page.put_aside()
    console.page.wait_for(f"{OPEN_STREAMS} === 0")
    owner.post(f"/v1/jobs/{job_id}:cancel", {})
    console.page.bring_back()

    console.page.wait_for("/cancelled/.test(document.querySelector('.head').textContent)")


def test_what_is_asked_every_so_often_is_asked_at_once_by_who_looks_again(console: Console) -> None:
    console.page.run(
        "Promise.all([import('/console/parts/html.js'), import('/console/parts/load.js')])"
        ".then(([{html, render}, {useEvery}]) => {"
        " window.asked = 0; const act = () => { asked += 1; };"
        " window.seconds = 0; setInterval(() => { seconds += 1; }, 1000);"
        " const Asking = () => { useEvery(1000, act); return null; };"
        " render(html`<${Asking} />`, document.createElement('div')); })"
    )
    console.page.wait_for("asked === 1")
    console.page.put_aside()
    before, seconds = console.page.run("[asked, seconds]")
    # Timers of a page that nobody sees are late, and in order.
    console.page.wait_for(f"seconds >= {seconds + 2}")
    assert console.page.run("asked") == before

    console.page.run(
        "document.addEventListener('visibilitychange', () => { window.atOnce = asked; })"
    )
    console.page.bring_back()

    assert console.page.run("atOnce") == before + 1
