"""Who is let in, by what, and what those are told who are not."""

import itertools
import re
import time
from typing import Any

import httpx
import pytest

from services.plumbing.auth.keys import SigningKey
from services.policy import LATTICE
from tests.authority import USER, Authority
from tests.gateway.sample import Gateway, SampleService, gateway_before

_ECHO = "/v1/echo"


@pytest.fixture
async def stranger(gateway: Gateway) -> httpx.AsyncClient:
    """Calls without a token."""
    del gateway.client.headers["authorization"]
    return gateway.client


def reason(answer: httpx.Response) -> str:
    result: str = answer.json()["error"]["details"]["reason"]
    return result


def routes(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Every route: its method, a path that leads to it, and its scope."""
    result = []
    for targets in gateway.application.routes._targets:
        for endpoint in targets.values():
            template = endpoint.rule.template.text
            path = re.sub(r"\{[^{}=]+(=[^{}]+)?\}", "1", template.replace("=shelves/*}", "}"))
            path = path.replace("/v1/1/books", "/v1/shelves/1/books")
            result.append((endpoint.rule.http_method, path, endpoint.scope))
    return result


async def test_without_a_token_nothing_is_reached_but_what_is_public(
    gateway: Gateway, stranger: httpx.AsyncClient
) -> None:
    statuses = {}
    for method, path, scope in routes(gateway):
        for prefix in ("", "/api"):
            answer = await stranger.request(method, prefix + path)
            statuses[method, prefix + path, scope] = answer.status_code

    assert len(statuses) == 2 * 15
    assert {key for key, status in statuses.items() if status != 401} == {
        ("POST", "/v1/echo/1:publish", "public"),
        ("POST", "/api/v1/echo/1:publish", "public"),
    }
    assert gateway.service.calls == []


async def test_a_caller_without_the_scope_is_refused_on_every_route(gateway: Gateway) -> None:
    headers = gateway.service.authority.headers(scopes=["keys.read"])
    statuses = {
        (scope, (await gateway.client.request(method, path, headers=headers)).status_code)
        for method, path, scope in routes(gateway)
    }

    assert statuses == {
        ("events.append", 403),
        ("events.read", 403),
        ("signed-in", 200),
        ("public", 200),
    }
    assert gateway.service.calls == []


async def test_who_proves_nothing_is_told_how_to(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post(_ECHO)

    assert answer.status_code == 401
    assert reason(answer) == "TOKEN_REQUIRED"
    assert answer.headers["www-authenticate"] == 'Bearer realm="girih"'


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Bearer a b", "Basic YTpi", "bearer", "Bearer\tx", "Bearer ä",
        "Bearer x.y.z", "Bearer x, Bearer x", "Token x",
    ],
)  # fmt: skip
async def test_a_malformed_header_is_401(header: str, stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post(_ECHO, headers={b"authorization": header.encode()})

    assert answer.status_code == 401
    assert reason(answer) == "TOKEN_INVALID"
    assert answer.headers["www-authenticate"] == 'Bearer realm="girih", error="invalid_token"'


def _bad_tokens(authority: Authority) -> dict[str, str]:
    good = authority.token()
    now = int(time.time())
    return {
        "expired": authority.token(exp=now - 1),
        "not yet valid": authority.token(nbf=now + 600),
        "too long": authority.token(exp=now + 10 * 365 * 86_400),
        "wrong audience": authority.token(aud=["events.girih"]),
        "wrong issuer": authority.token(iss=LATTICE),
        "other key": authority.token(key=SigningKey.generate()),
        "lattice's key": authority.token(key=authority.lattice),
        "service token": authority.service_token("gateway.girih"),
        "gateway's service token": authority.service_token(
            "gateway.girih", service="gateway.girih"
        ),
        "reserved tenant": authority.token("girih-accounts"),
        "no tenant": authority.token(""),
        "cut": good[:-2],
        "other payload": ".".join([good.split(".")[0], "e30", good.split(".")[2]]),
    }


async def test_a_token_that_is_not_good_is_401(gateway: Gateway) -> None:
    tokens = _bad_tokens(gateway.service.authority)

    result = {}
    for name, token in tokens.items():
        headers = {"authorization": f"Bearer {token}"}
        answer = await gateway.client.post(_ECHO, headers=headers)
        result[name] = (answer.status_code, reason(answer))

    assert result == dict.fromkeys(tokens, (401, "TOKEN_INVALID")) | {
        "expired": (401, "TOKEN_EXPIRED")
    }
    assert gateway.service.calls == []


async def test_a_token_counts_in_one_header_alone(
    gateway: Gateway, stranger: httpx.AsyncClient
) -> None:
    token = gateway.service.authority.token()
    for name, value in itertools.product(
        ["access_token", "authorization", "token", "Authorization"], [token, f"Bearer {token}"]
    ):
        in_query = await stranger.post(_ECHO, params={name: value})
        in_cookie = await stranger.post(_ECHO, headers={"cookie": f"{name}={value}"})
        in_body = await stranger.post(_ECHO, json={name: value})
        in_header = await stranger.post(_ECHO, headers={f"x-{name}": value})

        statuses = [one.status_code for one in (in_query, in_cookie, in_body, in_header)]
        assert statuses == [401] * 4


async def test_the_scheme_is_taken_in_any_case(gateway: Gateway) -> None:
    token = gateway.service.authority.token()

    answer = await gateway.client.post(_ECHO, headers={"authorization": f"BEARER  {token}"})

    assert answer.status_code == 201


async def test_a_service_gets_the_callers_own_token(gateway: Gateway) -> None:
    token = gateway.service.authority.token("acme", scopes=["events.append"])

    await gateway.client.post(_ECHO, headers={"authorization": f"Bearer {token}"})

    call = gateway.service.calls[-1]
    assert (call.token, call.tenant) == (token, "acme")
    assert call.principal is not None
    assert call.principal.subject == USER


async def test_the_tenant_is_the_tokens_whatever_else_is_said(gateway: Gateway) -> None:
    headers = gateway.service.authority.headers("acme") | {"X-Tenant-ID": "other"}

    await gateway.client.post(_ECHO, headers=headers, json={"text": "other"})

    assert gateway.service.calls[-1].tenant == "acme"


async def test_a_missing_scope_is_named(gateway: Gateway) -> None:
    headers = gateway.service.authority.headers(scopes=["events.read"])

    answer = await gateway.client.post(_ECHO, headers=headers)

    assert answer.status_code == 403
    details = answer.json()["error"]["details"]
    assert details["reason"] == "SCOPE_MISSING"
    assert details["metadata"] == {"scope": "events.append"}
    assert details["domain"] == "gateway.girih"  # before the service is even asked
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="girih", error="insufficient_scope", scope="events.append"'
    )


@pytest.mark.parametrize("token", ["nonsense", "", "girih_nonsense"])
async def test_a_bad_token_on_a_public_route_is_not_looked_at(
    token: str, stranger: httpx.AsyncClient
) -> None:
    headers = {"authorization": f"Bearer {token}"}

    answer = await stranger.post("/v1/echo/a:publish", headers=headers)

    assert answer.status_code == 200


async def test_a_session_that_was_ended_is_401(gateway: Gateway) -> None:
    headers = gateway.service.authority.headers(sid="ended-session")
    before = await gateway.client.post(_ECHO, headers=headers)
    gateway.accounts.revoked.add("ended-session")

    answer = await gateway.client.post(_ECHO, headers=headers)

    assert (before.status_code, answer.status_code) == (201, 401)
    assert reason(answer) == "TOKEN_INVALID"
    assert answer.json()["error"]["message"] == "the session has ended"


async def test_a_key_stands_for_its_token(gateway: Gateway) -> None:
    token = gateway.service.authority.token("acme", sub="key:7", sid="7")
    gateway.accounts.tokens_of_keys["girih_key"] = token

    good = await gateway.client.post(_ECHO, headers={"authorization": "Bearer girih_key"})
    bad = await gateway.client.post(_ECHO, headers={"authorization": "Bearer girih_other"})

    assert good.status_code == 201
    assert gateway.service.calls[-1].token == token
    assert (bad.status_code, reason(bad)) == (401, "KEY_INVALID")
    assert bad.headers["www-authenticate"] == 'Bearer realm="girih", error="invalid_token"'


async def test_a_key_that_was_revoked_is_401_at_once(gateway: Gateway) -> None:
    token = gateway.service.authority.token("acme", sub="key:7", sid="7")
    gateway.accounts.tokens_of_keys["girih_key"] = token
    gateway.accounts.revoked.add("7")

    answer = await gateway.client.post(_ECHO, headers={"authorization": "Bearer girih_key"})

    assert answer.status_code == 401


async def test_refusals_are_told_to_the_security_log(gateway: Gateway) -> None:
    authority = gateway.service.authority
    tokens: list[Any] = [
        authority.token("acme", scopes=["events.read"]),
        authority.token(aud=["events.girih"]),
        authority.service_token("gateway.girih", "acme"),
    ]
    for token in tokens:
        await gateway.client.post(_ECHO, headers={"authorization": f"Bearer {token}"})

    response = [
        (tenant, kind, fields["reason"], fields["route"])
        for tenant, kind, fields in gateway.accounts.security.records
    ]
    assert response == [
        ("acme", "call-refused", "SCOPE_MISSING", "/v1/echo"),
        ("", "call-refused", "TOKEN_INVALID", "/v1/echo"),
        ("acme", "call-refused", "TOKEN_INVALID", "/v1/echo"),
    ]
    assert not any(token in str(gateway.accounts.security.records) for token in tokens)


async def test_an_outage_is_no_refusal(gateway: Gateway) -> None:
    gateway.accounts.are_away = True

    answer = await gateway.client.post(_ECHO, headers={"authorization": "Bearer girih_key"})

    assert answer.status_code == 503
    assert not gateway.accounts.security.records


async def test_what_a_service_forbids_is_told_too(gateway: Gateway) -> None:
    answer = await gateway.client.post("/v1/fail", json={"kind": "denied"})

    assert answer.status_code == 403
    (response,) = gateway.accounts.security.records
    assert response[:2] == ("default", "call-refused")
    assert response[2]["reason"] == "PERMISSION_DENIED"


async def test_a_call_that_a_service_refuses_is_not_counted(gateway: Gateway) -> None:
    refused = await gateway.client.post("/v1/fail", json={"kind": "denied"})
    failed = await gateway.client.post("/v1/fail", json={"kind": "missing"})

    assert (refused.status_code, failed.status_code) == (403, 404)
    assert [route for _, route in gateway.accounts.counted] == ["/v1/fail"]


async def test_calls_are_counted_by_tenant_and_refused_beyond_the_plan(gateway: Gateway) -> None:
    await gateway.client.post(_ECHO, headers=gateway.service.authority.headers("acme"))
    await gateway.client.post("/v1/echo/a:publish")
    gateway.accounts.over_plan.add("acme")

    refused = await gateway.client.post(_ECHO, headers=gateway.service.authority.headers("acme"))

    assert gateway.accounts.counted == [("acme", "/v1/echo")]
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"


async def test_every_answer_tells_how_many_calls_are_left(gateway: Gateway) -> None:
    answers = [
        await gateway.client.post(_ECHO),
        await gateway.client.post(_ECHO, content=b"{"),
        await gateway.client.post(_ECHO, headers={"authorization": "nonsense"}),
        await gateway.client.get("/nope"),
        await gateway.client.get("/v1/count?to=1"),
    ]

    assert [answer.status_code for answer in answers] == [201, 400, 401, 404, 200]
    left = [int(answer.headers["ratelimit-remaining"]) for answer in answers]
    assert left == [1199, 1198, 59_997, 59_996, 1197]
    assert all(int(answer.headers["ratelimit-reset"]) <= 60 for answer in answers)


async def test_an_address_is_limited_before_its_token_is_looked_at(service: SampleService) -> None:
    environ = {"GATEWAY_ADDRESS_CALLS_PER_MINUTE": "2"}
    async with gateway_before(service, environ) as gateway:
        headers = {"authorization": "Bearer nonsense"}
        answers = [await gateway.client.post(_ECHO, headers=headers) for _ in range(3)]
        good = await gateway.client.post(_ECHO)

    assert [answer.status_code for answer in [*answers, good]] == [401, 401, 429, 429]
    assert reason(good) == "RATE_LIMITED"
    assert int(good.headers["retry-after"]) > 0
    assert good.headers["ratelimit-remaining"] == "0"


async def test_a_user_is_limited_wherever_the_calls_come_from(service: SampleService) -> None:
    environ = {
        "GATEWAY_USER_CALLS_PER_MINUTE": "2",
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    async with gateway_before(service, environ) as gateway:
        answers = [
            await gateway.client.post(_ECHO, headers={"x-forwarded-for": f"10.0.0.{n}"})
            for n in range(3)
        ]
        headers = service.authority.headers(sub="user:00000000-0000-4000-8000-000000000009")
        other = await gateway.client.post(_ECHO, headers=headers)

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert other.status_code == 201


@pytest.mark.documented
async def test_health_and_documentation_ask_for_no_token(stranger: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/live", "/docs", "/openapi.json", "/.well-known/jwks.json"):
        assert (await stranger.get(path)).status_code == 200
