"""The console stays fluid beside much: `python -m tests.acceptance.console_load`. Needs a Chromium.

A long log is looked through and followed while events are appended, and obstacles are drawn on a
lattice of many sites. Meanwhile a timer of the page tells how late it is: for as long the page has
answered nobody. How long its main thread works for 1,000 events that it follows is in CPU time, and
so about the same beside other load. The memory of the page is taken after each part, once what is
garbage is gone.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.browser.console import NOTE_BREACHES, Console
from tests.browser.people import Person, log_in, register
from tests.e2e.chromium import browser
from tests.processes import WITHOUT_LIMITS, own_postgres, running_system

BLOCKED_MS_P99_MAX = 100.0
HEAP_GROWTH_MAX = 1.25
APPENDED_AT_ONCE = 1_000
RENEWED_AFTER_S = 120.0

TIMER = """
(() => {
  window.late = [];
  let due = performance.now() + 10;
  setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - due));
    due = now + 10;
  }, 10);
})()
"""

SCROLL = "(() => { document.querySelector('.window').scrollTop += %d; })()"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="in the log at first")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to follow")
    parser.add_argument("--rate", type=int, default=500, help="events a second meanwhile")
    parser.add_argument("--side", type=int, default=2_000, help="of the lattice, in sites")
    options = parser.parse_args()
    with open_console() as (console, owner), closing(Writer(console.url, owner.email)) as writer:
        fill(writer, options.events)
        console.enter(owner)
        console.page.run(TIMER)
        figures = {
            "looking through": looked_through(console),
            "following": followed(console, owner, options.seconds, options.rate),
            "drawing": drawn(console, writer.person(), options.side),
        }
    for name, figure in figures.items():
        print(f"{name:<16} {json.dumps(figure)}")
    is_fluid = all(figure["late_ms_p99"] <= BLOCKED_MS_P99_MAX for figure in figures.values())
    grows = figures["following"]["heap_mib"] / figures["following"]["heap_mib_half_way"]
    print(f"the page is {'fluid' if is_fluid else 'NOT fluid'}; its heap grew by {grows - 1:.0%}")
    return 0 if is_fluid and grows <= HEAP_GROWTH_MAX else 1


class Writer:
    """Somebody who goes on for longer than an access token lives."""

    def __init__(self, url: str, email: str) -> None:
        self._url, self._email = url, email
        self._person = log_in(url, email)
        self._since_s = time.monotonic()

    def person(self) -> Person:
        """With a token that is good for a while."""
        if time.monotonic() - self._since_s > RENEWED_AFTER_S:
            self._person.close()
            self._person = log_in(self._url, self._email)
            self._since_s = time.monotonic()
        return self._person

    def append(self, numbers: range) -> None:
        self.person().append(*(event(number) for number in numbers))

    def close(self) -> None:
        self._person.close()


@contextmanager
def open_console() -> Iterator[tuple[Console, Person]]:
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **WITHOUT_LIMITS) as system,
        closing(register(system.url, "Ada Lovelace", "Analytical Works")) as owner,
        tempfile.TemporaryDirectory(prefix="girih-") as profile,
        browser(Path(profile)) as page,
    ):
        page.before_each_page(NOTE_BREACHES)
        page.resize(1280, 900)
        yield Console(page, system.url), owner


def fill(writer: Writer, event_count: int) -> None:
    for start in range(0, event_count, APPENDED_AT_ONCE):
        writer.append(range(start, min(start + APPENDED_AT_ONCE, event_count)))


def event(number: int) -> dict[str, Any]:
    json = {"number": number, "text": "somebody asked for a permit, and was heard", "of": [1, 2, 3]}
    return {"stream": f"permit-{number % 1000}", "type": "counted", "json": json}


def looked_through(console: Console) -> dict[str, float]:
    """From the newest event upwards, a page at a time, and to the oldest and back."""
    console.show("#/events")
    console.page.wait_for("!!document.querySelector('.row')")
    begin(console)
    for _ in range(200):
        console.page.run(SCROLL % -700)
        time.sleep(0.03)
    console.press("Oldest")
    for _ in range(100):
        console.page.run(SCROLL % 700)
        time.sleep(0.03)
    return ended(console)


def followed(console: Console, owner: Person, seconds: float, rate: int) -> dict[str, float]:
    """At the newest event, while others append."""
    console.show("#/events?types=counted")
    console.page.wait_for("/Live/.test(document.querySelector('.state')?.textContent)")
    begin(console)
    console.page.measure()
    worked, first = console.page.worked_ms(), newest_shown(console)
    stop = threading.Event()
    appending = threading.Thread(target=append, args=(owner, console.url, rate, stop))
    appending.start()
    try:
        time.sleep(seconds / 2)
        half = console.heap_mib()
        time.sleep(seconds / 2)
        thousands = (newest_shown(console) - first) / 1000
        costs = {
            f"{kind}_ms_per_1000": round((ms - worked[kind]) / thousands, 1)
            for kind, ms in console.page.worked_ms().items()
        }
        return {**ended(console), **costs, "heap_mib_half_way": half}
    finally:
        stop.set()
        appending.join()


def newest_shown(console: Console) -> int:
    """The position of the last row."""
    return int(console.page.run("document.querySelector('.row:last-child a').dataset.position"))


def append(owner: Person, url: str, rate: int, stop: threading.Event) -> None:
    """In batches of a tenth of a second's, until told to stop."""
    number, due = 10**9, time.monotonic()
    with closing(Writer(url, owner.email)) as writer:
        while not stop.is_set():
            writer.append(range(number, number + rate // 10))
            number += rate // 10
            due += 0.1
            stop.wait(max(0.0, due - time.monotonic()))


def drawn(console: Console, owner: Person, side: int) -> dict[str, float]:
    """Strokes over a lattice of so many sites a side."""
    lattice_id = owner.post("/v1/lattices", {"shape": [side, side]})["latticeId"]
    console.show(f"#/lattices/{lattice_id}")
    console.page.wait_for("!!document.querySelector('.board canvas')")
    console.press("Block")
    left, top, width, height = console.page.run(
        "(() => { const box = document.querySelector('.board canvas').getBoundingClientRect();"
        " return [box.left, box.top, box.width, box.height]; })()"
    )
    begin(console)
    for stroke in range(20):
        y = top + height * (0.2 + 0.03 * stroke)
        console.page.drag([(left + width * (0.3 + 0.01 * step), y) for step in range(40)])
    return ended(console)


def begin(console: Console) -> None:
    console.page.run("late.splice(0).length")


def ended(console: Console) -> dict[str, float]:
    late = sorted(console.page.run("late.splice(0)"))
    return {
        "late_ms_p50": round(late[len(late) // 2], 1),
        "late_ms_p99": round(late[int(len(late) * 0.99)], 1),
        "late_ms_max": round(late[-1], 1),
        "heap_mib": console.heap_mib(),
    }


if __name__ == "__main__":
    sys.exit(main())
