"""Every page of the console, for those who may do everything, who may look, and strangers."""

import json

import pytest

from tests.browser.console import Console, addresses, patterns
from tests.browser.people import Furnished, Person
from tests.e2e.chromium import in_full

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), in_full]

VIEWERS_PRESS = {
    "", "+", "\N{MINUS SIGN}", "✕", "Close", "Components",
    "Copy", "Count what hangs together", "curl",
    "Distance from the start", "End", "Follow", "Go", "Goal", "History", "Its events", "Look at it",
    "Look at the result",
    "Log out everywhere",
    "Log out here", "Move", "Newest", "Oldest", "Pause", "Python", "Raw", "Search", "Show all",
    "Show it in the log", "Show its trace", "Show more", "Show these", "Start", "Tree", "Change",
    "Verify from its events", "Where the path was looked for", "Work there",
}  # fmt: skip
"""What looks, or concerns the viewer alone, as a password does."""

HIDDEN_FROM_VIEWERS = {
    "append", "new-lattice", "keys", "lattices/:latticeId/simulate", "settings"
}  # fmt: skip

WIDTHS = (360, 1280, 2560)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_every_width_and_is_named_for_all_readers(
    theme: str, console: Console, owner: Person, furnished: Furnished
) -> None:
    console.enter(owner)
    console.page.prefer(prefers_color_scheme=theme)
    wrong: list[tuple[object, ...]] = []
    for pattern, address in addresses(furnished).items():
        for width in WIDTHS:
            console.page.resize(width, 900)
            console.show(address)
            if console.overflow() > 0:
                wrong.append((pattern, width, "is wider than the window"))
            wrong += [(pattern, width, "cuts", text) for text in console.cut_words()]
        wrong += [(pattern, theme, one) for one in console.accessibility_violations()]

    assert wrong == []
    assert console.problems() == []


def test_a_viewer_sees_what_a_viewer_may_and_no_button_for_more(
    console: Console, viewer: Person, furnished: Furnished
) -> None:
    console.page.resize(1280, 900)
    console.enter(viewer)
    more = []
    for pattern, address in addresses(furnished).items():
        if pattern not in HIDDEN_FROM_VIEWERS:
            console.show(address)
            more += [(pattern, one) for one in console.buttons() - VIEWERS_PRESS]

    links = console.page.run("[...document.querySelectorAll('nav a')].map((one) => one.hash)")
    assert more == []
    assert not {f"#/{page}" for page in HIDDEN_FROM_VIEWERS} & set(links)
    assert console.problems() == []


def test_a_stranger_sees_empty_pages_and_nothing_of_another_tenant(
    console: Console, stranger: Person, furnished: Furnished
) -> None:
    console.enter(stranger)
    seen = ""
    for address in ("#/events", "#/streams", "#/lattices", "#/groups", "#/schemas", "#/keys"):
        console.show(address)
        seen += console.text()

    assert furnished.stream not in seen
    assert furnished.event_type not in seen
    assert "There are no lattices yet" in seen
    assert "There are no consumer groups" in seen
    assert console.problems() == []


def test_what_is_not_there_says_so_with_an_id_to_copy(console: Console, owner: Person) -> None:
    console.enter(owner)
    console.page.run("location.hash = '#/lattices/01890000-0000-7000-8000-000000000001'")
    console.page.wait_for("!!document.querySelector('main .failure code')")

    assert "LATTICE_NOT_FOUND" in console.text(".failure")
    assert console.page.run("document.querySelector('.failure code').textContent.length") >= 32
    assert [one for one in console.problems() if "404" not in one] == []


def test_what_is_answered_slowly_is_shown_though_it_is_asked_for_more_often(
    console: Console, owner: Person
) -> None:
    console.enter(owner)
    console.page.run(
        "(() => { const send = window.fetch; window.fetch = async (address, how) => {"
        " if (address === '/v1/projections')"
        " await new Promise((go, stop) => { setTimeout(go, 5000);"
        " how.signal.addEventListener('abort', () => stop(how.signal.reason)); });"
        " return send(address, how); }; })()"
    )
    console.page.run("location.hash = '#/projections'")

    console.page.wait_for("/lattices/.test(document.querySelector('main table')?.textContent)", 30)


def test_the_pages_are_those_that_are_walked() -> None:
    assert len(patterns()) >= 20


def test_durations_are_said_as_people_say_them(console: Console, owner: Person) -> None:
    console.enter(owner)
    durations_ms = [0.5, 1330, 60_000, 79_740, 3_599_999, 90_061_000, 30 * 86_400_000]

    words = console.page.run(
        "import('/console/parts/words.js')"
        f".then(({{duration}}) => {json.dumps(durations_ms)}.map(duration))"
    )

    assert words == ["0.5 ms", "1.33 s", "1 min", "1 min 20 s", "1 h", "1 d 1 h", "30 d"]
