"""What people do in the console, from the form to what came of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.browser.console import Console
from tests.browser.people import PASSWORD, Person, log_in, register
from tests.e2e.chromium import in_full
from tests.processes import System

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("inside"),
    in_full,
]


@pytest.fixture
def entered() -> Iterator[Callable[[Person], Person]]:
    """Has sessions of people closed behind the test."""
    with ExitStack() as stack:

        def enter(person: Person) -> Person:
            stack.callback(person.close)
            return person

        yield enter


def test_an_event_appended_by_the_form_is_in_the_log_that_is_open(
    console: Console, owner: Person
) -> None:
    console.show("#/append?stream=letter-7&type=sent")
    console.fill("json", json.dumps({"to": "Babbage", "big": 2**63 - 1}))
    console.press("Append")
    console.page.wait_for("/Stored at/.test(document.querySelector('main').textContent)")
    console.show("#/streams/letter-7")
    console.page.wait_for("!!document.querySelector('.row')")

    owner.append({"stream": "letter-7", "type": "answered", "json": {"by": "Babbage"}})

    console.page.wait_for("document.querySelectorAll('.row').length === 2")
    assert "answered" in console.text(".row:last-child")
    first = owner.calls.get("/v1/streams/letter-7/events", params={"limit": 1}).json()
    assert first["event"]["json"]["big"] == 2**63 - 1


def test_a_refused_event_says_which_field_and_why(console: Console) -> None:
    console.show("#/append?stream=no%20spaces&type=sent")
    console.fill("json", "{}")
    console.press("Append")

    console.page.wait_for("!!document.querySelector('main .failure li')")
    assert "stream" in console.text(".failure li code")


def test_keys_lead_through_the_log_and_open_an_event(console: Console, owner: Person) -> None:
    owner.append(*({"stream": "keyed-1", "type": f"step-{n}", "json": {"n": n}} for n in range(3)))
    console.show("#/streams/keyed-1")
    console.page.wait_for("document.querySelectorAll('.row').length === 3")
    console.page.run("document.querySelector('.row a[tabindex=\"0\"]').focus()")

    console.page.press("ArrowUp")
    console.page.press("ArrowUp")
    console.page.press("ArrowDown")
    console.page.wait_for("/step-1/.test(document.activeElement.textContent)")
    console.page.press("Enter")

    console.page.wait_for("/step-1/.test(document.querySelector('aside.event')?.textContent)")


def test_a_long_log_is_looked_through_from_end_to_end(console: Console, owner: Person) -> None:
    for _ in range(5):
        owner.append(*({"stream": "long-1", "type": "counted", "json": {}} for _ in range(200)))
    console.show("#/streams/long-1")
    console.page.wait_for("/Live/.test(document.querySelector('.state').textContent)")

    console.press("Oldest")
    console.page.wait_for("!!document.querySelector('.row')")
    console.page.wait_for(
        "(() => { const list = document.querySelector('.window'); list.scrollTop = 1e9;"
        " return /1,000 events/.test(document.querySelector('.bar').textContent); })()"
    )

    assert console.page.run("document.querySelectorAll('.row').length") < 100


def test_the_newest_event_stays_in_sight_when_the_window_becomes_smaller(
    console: Console, owner: Person
) -> None:
    owner.append(*({"stream": "sized-1", "type": "counted", "json": {}} for _ in range(100)))
    console.show("#/streams/sized-1")
    console.page.wait_for("document.querySelectorAll('.row').length > 20")
    left = (
        "(() => { const list = document.querySelector('.window');"
        " return list.scrollHeight - list.scrollTop - list.clientHeight; })()"
    )
    console.page.wait_for(f"{left} < 5")

    console.page.resize(1280, 600)
    console.page.resize(360, 600)

    console.page.wait_for("!!document.querySelector('.window.narrow')")
    console.page.wait_for(f"{left} < 5", within_s=10)


def test_a_lattice_is_drawn_and_a_path_found_on_it(console: Console) -> None:
    console.show("#/new-lattice")
    console.page.run("document.querySelector('.board canvas').focus()")
    for key in ("ArrowUp", "Enter", "ArrowUp", "Enter"):
        console.page.press(key)
    console.page.wait_for("/2 sites blocked/.test(document.querySelector('main').textContent)")
    console.press("Create")
    console.page.wait_for("/^#.lattices/.test(location.hash)")
    console.page.wait_for("/2 blocked/.test(document.querySelector('main').textContent)")

    for share, name in ((0.26, "Start"), (0.76, "Goal")):
        x, y = console.page.run(
            "(() => { const box = document.querySelector('.board canvas').getBoundingClientRect();"
            f" return [box.left + {share} * box.width, box.top + 0.51 * box.height]; }})()"
        )
        console.page.click_at(x, y)
        console.page.wait_for(
            "[...document.querySelectorAll('.panel dt')]"
            f".some((one) => one.textContent === '{name}')"
        )

    console.page.wait_for("/Length\\s*22/.test(document.querySelector('.panel').textContent)")
    console.press("Its events")
    console.page.wait_for("/lattice.created/.test(document.querySelector('main').textContent)")
    assert console.problems() == []


def test_a_session_is_ended_from_another_and_another_tenant_entered(
    console: Console, owner: Person, system: System, entered: Callable[[Person], Person]
) -> None:
    elsewhere = entered(log_in(system.url, owner.email))
    host = entered(register(system.url, "Charles Babbage", "Difference Engine"))
    invited = host.post("/v1/invitations", {"email": owner.email, "role": "ROLE_VIEWER"})
    accepted = {"token": invited["token"], "password": PASSWORD}
    owner.post("/auth/invitations:accept", accepted)
    console.show("#/security")
    console.page.wait_for("/Difference Engine/.test(document.querySelector('main').textContent)")

    console.press("End")
    console.confirm()
    assert elsewhere.calls.get("/auth/whoami").status_code == 401
    console.press("Work there")
    console.page.wait_for(
        "/viewer in Difference/.test(document.querySelector('.who')?.textContent)"
    )

    assert [one for one in console.problems() if "401" not in one] == []


def test_an_open_page_spares_the_calls_of_a_plan_that_bounds_them(console: Console) -> None:
    every_ms = console.page.run(
        "import('/console/calls/identity.js').then(({countedMs, identity}) => {"
        " const who = identity.get();"
        " return [0, 1000, 100000].map((monthlyCallCountMax) => {"
        " const tenant = {...who.tenant, plan: {monthlyCallCountMax}};"
        " identity.set({...who, tenant}); return countedMs(2000); }); })"
    )

    assert every_ms == [2000, 60_000, 2000]


def test_what_is_refused_for_good_is_no_lost_connection(console: Console) -> None:
    states = console.page.run(
        "import('/console/calls/follow.js').then(async ({follow}) => {"
        " const states = [];"
        " const query = {'filter.queries': JSON.stringify({types: ['x'.repeat(300)]})};"
        " const told = {read() {}, replaced() {}, state: (one) => states.push(one)};"
        " await follow('/v1/events', query, '0', told, new AbortController().signal);"
        " return states; })"
    )

    assert states == ["connecting", "stopped"]


def test_a_token_that_expires_is_renewed_and_logging_out_leaves_nothing(console: Console) -> None:
    console.page.run(
        "import('/shared/session.js').then(({session}) => { Object.assign(session,"
        " {access: 'over', expires: 0}); })"
    )
    console.show("#/usage")
    console.page.run("location.reload()")
    console.page.wait_for("!!document.querySelector('.who')")
    console.press("Log out")
    console.page.wait_for("!!document.querySelector('.login form')")

    console.page.run("location.reload()")
    console.page.wait_for("!!document.querySelector('.login form')")
    assert console.page.run("sessionStorage.length") == 0


def test_a_chart_says_its_last_values_where_nobody_points(console: Console) -> None:
    console.show("#/health")

    legend = "document.querySelector('.u-legend')?.textContent"
    console.page.wait_for(f"/Time\\d.*gateway, ms\\d/.test({legend})")
