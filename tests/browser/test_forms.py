"""Forms: what is sent once more is done once, what was typed arrives, and what a plan allows."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.console import Console
from tests.browser.people import Person
from tests.e2e.chromium import OTHER_HOST, in_full

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("inside"),
    in_full,
]

LOSE_ONE_ANSWER = """
(() => {
  const send = window.fetch;
  let isLost = false;
  window.fetch = async (address, how) => {
    const answer = await send(address, how);
    if (how?.method !== 'POST' || isLost) return answer;
    isLost = true;
    throw new TypeError('lost on the way');
  };
})()
"""
"""What is asked for is done, and nobody hears of it."""


def press_until_it_is_known(console: Console, label: str, known: str) -> None:
    """Press, get no answer, and press again."""
    console.page.run(LOSE_ONE_ANSWER)
    console.press(label)
    console.page.wait_for("!!document.querySelector('main .failure')")
    console.press(label)
    console.page.wait_for(known)


def test_an_event_is_stored_once_though_the_first_answer_was_lost(
    console: Console, owner: Person
) -> None:
    console.show("#/append?stream=pressed-1&type=sent")
    console.fill("json", "{}")

    press_until_it_is_known(
        console, "Append", "/Stored at/.test(document.querySelector('main').textContent)"
    )

    assert owner.calls.get("/v1/streams/pressed-1").json()["eventCount"] == "1"


def test_a_lattice_at_random_is_made_once_though_the_first_answer_was_lost(
    console: Console, owner: Person
) -> None:
    before = lattice_count(owner)
    console.show("#/new-lattice")
    console.press("Random")

    press_until_it_is_known(console, "Create", "/^#.lattices.[0-9a-f-]+/.test(location.hash)")

    assert lattice_count(owner) == before + 1


def test_a_simulation_is_started_once_though_the_first_answer_was_lost(
    console: Console, owner: Person
) -> None:
    lattice_id = owner.post("/v1/lattices", {"shape": [4, 8]})["latticeId"]
    console.show(f"#/lattices/{lattice_id}/simulate")
    console.fill("steps", "1")

    press_until_it_is_known(console, "Start", "/^#.jobs.[0-9a-f-]+/.test(location.hash)")

    jobs = owner.calls.get("/v1/jobs").json()["jobs"]
    assert [job["latticeId"] for job in jobs].count(lattice_id) == 1


def test_a_key_is_made_once_though_the_first_answer_was_lost(
    console: Console, owner: Person
) -> None:
    console.show("#/keys")
    console.fill("name", "pressed-twice")

    press_until_it_is_known(
        console, "Create", "/The secret/.test(document.querySelector('main').textContent)"
    )

    keys = owner.calls.get("/v1/keys").json()["keys"]
    assert [key["name"] for key in keys].count("pressed-twice") == 1


def test_what_was_refused_is_asked_anew_with_an_id_of_its_own(
    console: Console, owner: Person
) -> None:
    console.show("#/append?stream=pressed-2&type=sent")
    console.fill("json", "{}")
    console.press("Append")
    console.page.wait_for("/Stored at/.test(document.querySelector('main').textContent)")

    console.press("Append")

    stream = "fetch('/health').then(() => document.querySelector('main').textContent)"
    console.page.wait_for(f"{stream}.then((text) => /revision 1/.test(text))")
    assert owner.calls.get("/v1/streams/pressed-2").json()["eventCount"] == "2"


def test_metadata_that_is_set_again_keeps_its_digits(console: Console, owner: Person) -> None:
    owner.append({"stream": "counted-1", "type": "counted", "json": {}})
    metadata = '{"of": 9223372036854775807, "share": 1.50}'
    written = owner.calls.put(
        "/v1/streams/counted-1/metadata",
        content=f'{{"metadata": {metadata}}}',
        headers={"content-type": "application/json"},
    )
    first = int(owner.calls.get("/v1/streams/counted-1").json()["metadataVersion"])
    assert written.is_success
    console.show("#/streams/counted-1")
    console.page.wait_for("!!document.querySelector('textarea[name=metadata]')")

    console.page.run(
        "document.querySelector('textarea[name=metadata]').closest('form').requestSubmit()"
    )
    console.page.wait_for("/Set\\./.test(document.querySelector('main').textContent)")

    kept = owner.calls.get("/v1/streams/counted-1")
    assert int(kept.json()["metadataVersion"]) > first
    assert "9223372036854775807" in kept.text


def test_a_new_lattice_is_as_large_as_the_plan_lets_it_be(console: Console, owner: Person) -> None:
    console.page.run(
        "import('/console/calls/identity.js').then(({identity}) => {"
        " const who = identity.get();"
        " const plan = {name: 'free', axisCountMax: 3, extentMax: '10'};"
        " identity.set({...who, tenant: {...who.tenant, plan}}); })"
    )
    console.show("#/new-lattice")

    assert "The plan free allows at most 3 axes, and 10 sites along each" in console.text()
    console.press("Nothing blocked")
    console.press("Create")
    console.page.wait_for("/^#.lattices.[0-9a-f-]+/.test(location.hash)")
    console.page.wait_for("!!document.querySelector('.head h1')")
    assert re.findall("[0-9]+", console.text(".head h1")) == ["10", "10", "10"]


def test_another_host_without_tls_takes_forms_and_copies(console: Console, owner: Person) -> None:
    port = urlsplit(console.url).port
    elsewhere = Console(console.page, f"http://{OTHER_HOST}:{port}")
    elsewhere.enter(owner)
    # Of the page before it a session was ended, at the other name.
    elsewhere.problems()
    assert not console.page.run("isSecureContext")
    elsewhere.show("#/append?stream=plain-1&type=sent")
    elsewhere.fill("json", "{}")

    elsewhere.press("Append")
    elsewhere.page.wait_for("/Stored at/.test(document.querySelector('main').textContent)")
    elsewhere.show("#/usage")
    copy = "document.querySelector('main .facts button')"
    x, y = elsewhere.page.run(
        f"(() => {{ const box = {copy}.getBoundingClientRect();"
        " return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    elsewhere.page.click_at(x, y)
    elsewhere.page.wait_for(f"/Copied/.test({copy}.textContent)")

    problems = elsewhere.problems()
    assert problems == [], problems


def lattice_count(owner: Person) -> int:
    usage: dict[str, Any] = owner.calls.get("/v1/usage").json()
    return int(usage["latticeCount"])
