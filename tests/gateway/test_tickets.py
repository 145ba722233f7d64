"""Streams that are opened by their URL alone, with a ticket in it."""

import json

import httpx
import pytest

from gateway.accounts.tickets.ticket import Target
from tests.authority import Authority
from tests.gateway.sample import SESSION, Gateway, SampleService, gateway_before

COUNT = "/v1/count?to=2"
_HERE = Target(url=COUNT, origin="")


@pytest.fixture
async def browser(gateway: Gateway) -> httpx.AsyncClient:
    """Sends no token."""
    del gateway.client.headers["authorization"]
    return gateway.client


def expect(gateway: Gateway, target: Target = _HERE, **options: object) -> None:
    """Let "good" open this target."""
    authority: Authority = gateway.service.authority
    token = authority.token(**options)  # type: ignore[arg-type]
    gateway.accounts.tokens_of_tickets["good", target] = token


@pytest.mark.parametrize("url", [f"{COUNT}&ticket=good", "/v1/count?ticket=good&to=2"])
async def test_a_ticket_opens_a_stream_and_is_nothing_that_the_route_sees(
    url: str, gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway)

    answer = await browser.get(url)

    assert answer.status_code == 200
    assert [json.loads(line)["position"] for line in answer.text.splitlines()] == ["1", "2"]


async def test_the_answer_gives_the_browser_what_it_goes_on_with(
    gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway)
    url = f"{COUNT}&ticket=good"

    first = (await browser.get(url)).headers["set-cookie"]
    second = (await browser.get(url)).headers["set-cookie"]

    name = f"girih-stream-{SESSION[:8]}"
    rest = "Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"
    assert first == f"{name}=after nothing; {rest}"
    assert second.startswith(f"{name}=after ")
    assert second != first


async def test_behind_tls_the_cookie_is_for_this_host_and_tls_alone(service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_HTTP_TRANSPORT": "proxy"}) as gateway:
        del gateway.client.headers["authorization"]
        expect(gateway)
        answer = await gateway.client.get(f"{COUNT}&ticket=good")

    assert answer.headers["set-cookie"].startswith("__Host-girih-stream-")
    assert answer.headers["set-cookie"].endswith("; Secure")


async def test_an_answer_to_a_ticket_is_neither_kept_nor_told_on(
    gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway)

    answer = await browser.get(f"{COUNT}&ticket=good")

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", f"{COUNT}&ticket=bad"),
        ("GET", f"{COUNT}&ticket="),
        ("GET", f"{COUNT}&ticket=good&ticket=good"),
        ("GET", "/v1/count?to=3&ticket=good"),
        ("HEAD", f"{COUNT}&ticket=good"),
        ("GET", "/v1/numbers/1?ticket=good"),
        ("POST", "/v1/echo?ticket=good"),
    ],
)
async def test_a_ticket_is_good_for_nothing_else(
    method: str, url: str, gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway)

    answer = await browser.request(method, url)

    assert answer.status_code == 401


async def test_pages_of_another_origin_are_told_apart(
    gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway, Target(url=COUNT, origin="https://app.example"))

    statuses = [
        (await browser.get(f"{COUNT}&ticket=good", headers=headers)).status_code
        for headers in ({}, {"origin": "https://app.example"}, {"origin": "https://evil.example"})
    ]

    assert statuses == [401, 200, 401]


async def test_a_ticket_brings_no_scope_that_its_user_does_not_have(
    gateway: Gateway, browser: httpx.AsyncClient
) -> None:
    expect(gateway, scopes=["keys.read"])

    answer = await browser.get(f"{COUNT}&ticket=good")

    assert answer.status_code == 403


async def test_who_sends_a_token_needs_no_ticket_and_may_not_send_one(gateway: Gateway) -> None:
    expect(gateway)

    answer = await gateway.client.get(f"{COUNT}&ticket=good")

    assert answer.status_code == 400
    [violation] = answer.json()["error"]["details"]["violations"]
    assert violation["field"] == "ticket"
    assert violation["description"] == "must not stand beside the header Authorization"
