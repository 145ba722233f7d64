"""The log while much comes: elements are taken for other rows, and nobody notices."""

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

MORE_THAN_IN_SIGHT = 100
DRAWN = 60
KEPT_MIB_MAX = 1.0
"""What so many rows take; the elements of as many drawings take several times as much."""


def append(owner: Person, stream: str, count: int) -> int:
    """The position of the last one."""
    event = {"stream": stream, "type": "counted", "json": {}}
    return owner.append(*[event] * count)[-1]


def show(console: Console, owner: Person, stream: str, count: int) -> None:
    """The stream with so many events, followed."""
    append(owner, stream, count)
    console.show(f"#/streams/{stream}")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")


def wait_for_row(console: Console, position: int) -> None:
    console.page.wait_for(f"!!document.querySelector('[data-position=\"{position}\"]')")


def test_rows_are_those_of_the_log_in_order_however_many_come(
    console: Console, owner: Person
) -> None:
    show(console, owner, "ordered-1", 50)
    wrong = []
    for count in (1, 3, MORE_THAN_IN_SIGHT, 1, 9, 2 * MORE_THAN_IN_SIGHT, 40):
        newest = append(owner, "ordered-1", count)
        wait_for_row(console, newest)
        shown = console.page.run(
            "[...document.querySelectorAll('.row')].map((row) => [Number(row.firstChild"
            ".dataset.position), Number(row.querySelector('.position').textContent"
            ".replaceAll(',', '')), row.getBoundingClientRect().top])"
        )
        expected = list(range(newest - len(shown) + 1, newest + 1))
        if [by_name for by_name, _, _ in shown] != expected:
            wrong.append((count, "are other events", shown))
        if [by_text for _, by_text, _ in shown] != expected:
            wrong.append((count, "say another position", shown))
        if [top for _, _, top in shown] != sorted(top for _, _, top in shown):
            wrong.append((count, "stand in another order", shown))

    assert wrong == []


def test_what_is_pressed_is_opened_though_others_took_its_place(
    console: Console, owner: Person
) -> None:
    show(console, owner, "pressed-1", MORE_THAN_IN_SIGHT)
    pressed = console.page.run(
        "(() => { const row = [...document.querySelectorAll('.row a')].at(-3);"
        " window.pressed = row; const position = row.dataset.position;"
        " row.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}));"
        " return position; })()"
    )

    wait_for_row(console, append(owner, "pressed-1", MORE_THAN_IN_SIGHT))
    assert console.page.run("pressed.dataset.position") != pressed
    console.page.run("pressed.click()")

    console.page.wait_for("!!document.querySelector('aside.event .facts')")
    assert console.page.run("location.hash").endswith(f"event={pressed}")


def test_the_focus_is_on_the_row_that_got_it_or_on_none(console: Console, owner: Person) -> None:
    show(console, owner, "focused-1", MORE_THAN_IN_SIGHT)
    focused = console.page.run(
        "(() => { const row = [...document.querySelectorAll('.row a')].at(-1);"
        " row.focus(); return document.activeElement.dataset.position; })()"
    )

    newest = append(owner, "focused-1", 1)
    wait_for_row(console, newest)
    before = console.page.run("document.activeElement.dataset.position")
    wait_for_row(console, append(owner, "focused-1", MORE_THAN_IN_SIGHT))

    assert before == focused
    assert console.page.run("document.activeElement.dataset.position ?? null") is None


def test_what_was_drawn_before_is_kept_by_nothing(console: Console, owner: Person) -> None:
    show(console, owner, "kept-1", MORE_THAN_IN_SIGHT)
    before_mib = console.heap_mib()

    for _ in range(DRAWN):
        wait_for_row(console, append(owner, "kept-1", 1))

    grown_mib = console.heap_mib() - before_mib
    assert grown_mib < KEPT_MIB_MAX
