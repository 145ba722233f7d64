"""A browser's EventSource, which can send no token, follows a log: in a real browser."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.chromium import Page, browser, in_full
from tests.processes import PATIENT, System, own_postgres, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


WHO = {"email": "ada@girih.test", "password": "girih-test-password-3141"}
STREAM = "/v1/streams/permit-1/events?follow=true"

OPEN = """
(async () => {
  const tokens = await (await fetch('/auth/login', {
    method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(%s),
  })).json();
  window.refreshToken = tokens.refresh_token;
  const answer = await fetch('/auth/tickets', {
    method: 'POST',
    headers: {'content-type': 'application/json', authorization: `Bearer ${tokens.access_token}`},
    body: JSON.stringify({url: %s}),
  });
  window.url = (await answer.json()).url;
  window.ids = [];
  window.source = new EventSource(window.url);
  window.source.onmessage = (event) => window.ids.push(event.lastEventId);
})()
"""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with (
        own_postgres() as (postgres, folder),
        # A token ends its stream: let that happen while the test looks.
        running_system(postgres.url, folder, **PATIENT, GATEWAY_ACCESS_TOKEN_S="30") as made,
    ):
        who = {**WHO, "name": "Ada"}
        httpx.post(f"{made.url}/auth/register", json=who, timeout=30).raise_for_status()
        yield made


@pytest.fixture
def page(system: System, tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path) as made:
        made.open(f"{system.url}/docs")
        yield made


def login(system: System) -> dict[str, Any]:
    answer = httpx.post(f"{system.url}/auth/login", json=WHO, timeout=30).raise_for_status()
    tokens: dict[str, Any] = answer.json()
    return tokens


def append(system: System, count: int) -> None:
    headers = {"authorization": f"Bearer {login(system)['access_token']}"}
    events = [{"stream": "permit-1", "type": "submitted", "json": {}} for _ in range(count)]
    body = {"events": events}
    url = f"{system.url}/v1/events:append"
    httpx.post(url, json=body, headers=headers, timeout=30).raise_for_status()


def follow(page: Page) -> None:
    page.run(OPEN % (json.dumps(WHO), json.dumps(STREAM)))


def seen(page: Page, count: int) -> list[int]:
    """The revisions that the page has got, once it has so many."""
    page.wait_for(f"window.ids.length >= {count}")
    return [int(one.partition("-")[0]) for one in page.run("window.ids")]


@in_full
def test_it_follows_past_a_restart_of_the_gateway_and_loses_and_repeats_nothing(
    system: System, page: Page
) -> None:
    append(system, 2)
    follow(page)
    before = len(seen(page, 2))

    append(system, 1)
    seen(page, before + 1)
    assert system.gateway.stop() == 0
    page.wait_for("window.source.readyState === EventSource.CONNECTING")
    system.gateway.start()
    system.gateway.wait_ready()
    append(system, 3)

    ids = seen(page, before + 4)
    assert ids == sorted(set(ids))
    assert len(ids) == before + 4
    assert page.run("window.source.readyState") == 1
    assert "ticket=" in page.run("window.url")
    assert "ticket=" not in system.gateway.log.read_text()


@in_full
def test_it_goes_on_when_its_token_expires_and_ends_with_the_session(
    system: System, page: Page
) -> None:
    append(system, 1)
    follow(page)
    seen(page, 1)
    # The token that the stream was opened with is good for half a minute.
    page.run(
        "window.source.addEventListener('error', (e) => { window.ended = e.data || window.ended })"
    )
    page.wait_for("window.ended && window.source.readyState === EventSource.OPEN", within_s=90)
    count = page.run("window.ids.length")
    append(system, 1)
    assert len(seen(page, count + 1)) == count + 1

    page.run(
        "fetch('/auth/logout', {method: 'POST', headers: {'content-type': 'application/json'},"
        " body: JSON.stringify({refresh_token: window.refreshToken})})"
    )

    page.wait_for("window.source.readyState === EventSource.CLOSED")


@in_full
def test_the_url_is_worth_nothing_to_whoever_finds_it(system: System, page: Page) -> None:
    append(system, 1)
    follow(page)
    seen(page, 1)

    answer = httpx.get(f"{system.url}{page.run('window.url')}", timeout=30)

    assert answer.status_code == 401
    assert answer.json()["error"]["details"]["reason"] == "TICKET_INVALID"
    assert page.run("document.cookie") == ""


def test_no_log_line_holds_a_ticket(system: System) -> None:
    with httpx.Client(base_url=system.url, timeout=30) as client:
        headers = {"authorization": f"Bearer {login(system)['access_token']}"}
        made = client.post("/auth/tickets", json={"url": "/v1/events"}, headers=headers).json()
        ticket = made["url"].rpartition("=")[2]
        statuses = [client.get(url).status_code for url in (made["url"], made["url"] + "x")]

    assert statuses == [200, 401]
    # What a call came to is logged behind its answer.
    deadline_s = time.monotonic() + 30
    while "/v1/events" not in (log := system.gateway.log.read_text()):
        assert time.monotonic() < deadline_s, log
        time.sleep(0.05)
    assert not [part for part in ticket.split(".")[::3] if part in log]
