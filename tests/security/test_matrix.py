"""Nobody reaches what is not theirs, on any rpc or route, whatever they send."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.accounts.tickets.ticket import Target, TicketCodes
from gateway.app import read_contract
from gateway.contract.descriptors import scope_of
from gateway.contract.rules import rules_of
from gateway.openapi import names
from services.events import app
from services.events.app import built
from services.events.settings import Settings
from services.plumbing.auth import tokens
from services.plumbing.auth.keys import TrustedKey, TrustedKeys
from services.plumbing.grpc import chain
from services.plumbing.grpc.server import running
from services.plumbing.identity import PUBLIC, SIGNED_IN
from services.policy import POLICY
from tests.authority import Authority
from tests.events.serving import development
from tests.processes import System
from tests.security import hostile
from tests.security.conftest import Deployment, Tenant, settled
from tests.security.matrix import (
    CANARY,
    Attack,
    Owned,
    guarded,
    path_of,
    wrong_answers_of_routes,
    wrong_answers_of_rpcs,
)
from tests.security.series import kinds, samples_of, strange_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EVENTS_RPCS = ("girih.events.", "girih.ops.")
LATTICE_RPCS = ("girih.lattice.", "girih.ops.")
SERIES_MAX = 12_000
"""Of one process, whoever has called it: as many as it has rpcs and routes, times some fifty."""

PROJECTIONS_RPCS = ("girih.projections.", "girih.ops.")
VIEWER = {
    "events.read",
    "groups.read",
    "lattices.read",
    "members.read",
    "projections.read",
    "usage.read",
}

OPEN_PAGES = {
    "/",
    "/.well-known/jwks.json",
    # All that is below is files of the package: see tests/gateway/test_console.py.
    "/console",
    "/console/{path}",
    "/docs",
    "/docs/calls/answers.js",
    "/docs/calls/trying.js",
    "/docs/docs.css",
    "/docs/docs.js",
    "/docs/dom.js",
    "/docs/errors",
    "/docs/errors.js",
    "/docs/grpc",
    "/docs/grpc.js",
    "/docs/prose.js",
    "/docs/reference.json",
    "/docs/rest.js",
    "/docs/schema.js",
    "/docs/session.js",
    "/docs/shell.js",
    "/health",
    "/health/database",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/shared",
    "/shared/{path}",
}
"""What the gateway shows to anybody. A page that is added is added here, on purpose."""


def attacks_without_right(deployment: Deployment) -> Iterator[Attack]:
    """Everything that proves nothing."""
    attacked = deployment.attacked
    yield Attack("no token")
    yield Attack("empty token", metadata=[("authorization", "Bearer ")])
    yield Attack("no scheme", *_both("authorization", attacked.access_token))
    yield Attack("another scheme", *_both("authorization", f"Basic {attacked.access_token}"))
    yield Attack("token in the query", query={"access_token": attacked.access_token})
    yield Attack("token as a ticket", query={"ticket": attacked.access_token})
    yield Attack("a ticket of nobody's", query={"ticket": forged_ticket(attacked)})
    yield Attack("token in a cookie", headers={"cookie": f"access_token={attacked.access_token}"})
    yield Attack("a tenant and no token", *_both("x-tenant-id", attacked.tenant_id))
    for name, token in hostile.tokens(
        deployment.system.authority, attacked.tenant_id, attacked.refresh_token
    ):
        yield Attack.with_token(name, token)


def forged_ticket(attacked: Tenant) -> str:
    """A ticket for the session of the attacked, by somebody who does not know our secret."""
    session_id = attacked.refresh_token.partition(".")[0]
    codes = TicketCodes(lambda: b"not the secret of the gateway")
    return codes.new(session_id, Target(url="/v1/events", origin=""), int(time.time()) + 30).text


def attacks_of_somebody_else(deployment: Deployment) -> Iterator[Attack]:
    """A good token of another tenant, and every way to say that one means this one."""
    token, tenant_id = deployment.attacker.access_token, deployment.attacked.tenant_id
    bearer = ("authorization", f"Bearer {token}")
    yield Attack.with_token("other tenant's", token, is_somebody=True)
    for name in (
        "x-tenant-id",
        "X-Tenant-ID",
        "x-girih-tenant",
        "x-user-id",
        "x-forwarded-user",
        "grpc-metadata-x-tenant-id",
        "tenant",
    ):
        yield Attack(
            f"{name} beside a token",
            metadata=[bearer, (name.lower(), tenant_id)],
            headers={"Authorization": bearer[1], name: tenant_id},
            is_somebody=True,
        )
    for spelled in ("tenant", "tenantId", "tenant_id"):
        yield Attack.with_token(
            f"{spelled} in the body and query",
            token,
            is_somebody=True,
            body={spelled: tenant_id},
            query={spelled: tenant_id},
        )


def _both(name: str, value: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    return [(name, value)], {name: value}


async def test_no_rpc_answers_a_call_that_proves_nothing(deployment: Deployment) -> None:
    attacks, owned = list(attacks_without_right(deployment)), deployment.attacked.owned

    for address, packages in _ports(deployment):
        wrong, count = await wrong_answers_of_rpcs(address, attacks, owned, packages)

        assert wrong == []
        assert count >= 5 * len(attacks)


def test_no_route_answers_a_request_that_proves_nothing(deployment: Deployment) -> None:
    attacks = list(attacks_without_right(deployment))

    wrong, count = wrong_answers_of_routes(
        deployment.system.url, attacks, deployment.attacked.owned
    )

    assert wrong == []
    assert count >= 25 * len(attacks)


async def test_nobody_reaches_another_tenant(deployment: Deployment) -> None:
    before = await _head(deployment, deployment.attacked)
    attacks, owned = list(attacks_of_somebody_else(deployment)), deployment.attacked.owned

    wrong, _ = wrong_answers_of_routes(deployment.system.url, attacks, owned)
    for address, packages in _ports(deployment):
        wrong += (await wrong_answers_of_rpcs(address, attacks, owned, packages))[0]

    assert wrong == []
    assert await _head(deployment, deployment.attacked) == before


async def test_a_viewer_changes_nothing(deployment: Deployment) -> None:
    token = deployment.system.authority.token(
        deployment.attacked.tenant_id, sorted(VIEWER), role="viewer"
    )
    headers = {"authorization": f"Bearer {token}"}

    async with httpx.AsyncClient(base_url=deployment.system.url, timeout=20) as client:
        for rule in guarded(read_contract()):
            response = await client.request(
                rule.http_method, path_of(rule, deployment.attacked.owned), headers=headers
            )
            may = scope_of(rule.method) in VIEWER | {SIGNED_IN}
            assert (response.status_code == 403) == (not may), (rule.template.text, response.text)


def test_the_owner_reads_the_canary(deployment: Deployment) -> None:
    """The control: what the attacks look for is there to be found."""
    mine = [Attack.with_token("own token", deployment.attacked.access_token, is_somebody=True)]

    wrong, _ = wrong_answers_of_routes(deployment.system.url, mine, deployment.attacked.owned)

    assert {one.target.split("/v1/")[-1] for one in wrong} >= {"events", "keys", "invitations"}


async def test_only_these_pages_are_open(deployment: Deployment) -> None:
    async with httpx.AsyncClient(base_url=deployment.system.url, timeout=20) as client:
        document = (await client.get("/openapi.json")).json()
        shown = {
            path
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method != "parameters" and operation["security"] == []
        }

    public = {
        names.path(rule) for rule in rules_of(read_contract()) if scope_of(rule.method) == PUBLIC
    }
    assert shown - OPEN_PAGES == public
    assert public == {
        "/auth/invitations:accept",
        "/auth/login",
        "/auth/logout",
        "/auth/refresh",
        "/auth/register",
        "/auth/tenants/{tenantId}:switch",
        "/auth/token",
    }


async def test_nobody_makes_a_series_of_their_own(deployment: Deployment) -> None:
    system = deployment.system
    # Who calls everything deletes what is theirs, too.
    with httpx.Client(base_url=system.url, timeout=30) as client:
        own, other = (settled(client, name, CANARY) for name in ("first", "second"))
    await _use_everything(system, own)
    known = samples_of(system)

    await _use_everything(system, other)
    async with httpx.AsyncClient(base_url=system.url, timeout=20) as client:
        await client.request("BREW", "/v1/log")
        await client.get(f"/v1/{CANARY}/{own.tenant_id}")

    samples = samples_of(system)
    everything = [sample for those in samples.values() for sample in those]
    values = {value for sample in everything for value in sample.labels.values()}
    # Projections are installed, and so named by nobody; a position is a number.
    named = {own.owned.by_field[name] for name in ("projection", "position")}
    sent = {*own.owned.by_field.values(), CANARY} - named
    assert strange_values(everything, OPEN_PAGES) == set()
    assert {value for value in values if any(one in value for one in sent)} == set()
    for process, those in samples.items():
        added = kinds(those) - kinds(known[process])
        assert {name for name, labels in added if ("route", "(none)") not in labels} == set()
        assert len(those) < SERIES_MAX, process


async def _use_everything(system: System, tenant: Tenant) -> None:
    """Call every rpc and every route as somebody who may."""
    mine = [Attack.with_token("own token", tenant.access_token, is_somebody=True)]
    wrong_answers_of_routes(system.url, mine, tenant.owned)
    for address, packages in _ports_of(system):
        await wrong_answers_of_rpcs(address, mine, tenant.owned, packages)


def _no_check(*_arguments: object) -> None:
    return None


def _without_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_check_audience", _no_check)


def _without_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_check_times", lambda claims, _now: claims["exp"])


def _without_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LIFETIME_S_MAX", 10**9)


def _without_key_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_key(self: tokens.Verifier, _kid: str) -> TrustedKey:
        trusted: TrustedKeys = self._trusted
        return next(key for key in trusted.current.values() if key.issuer == "gateway.girih")

    monkeypatch.setattr(tokens.Verifier, "_key", any_key)


def _without_reserved_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    unreserved = replace(POLICY, reserved_tenants="nobody-is-called-this")
    monkeypatch.setattr(app, "POLICY", unreserved)


def _without_authorization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "authorize", _no_check)


@pytest.mark.parametrize(
    ("remove", "shown_by"),
    [
        (_without_audience, "wrong audience"),
        (_without_times, "not yet valid"),
        (_without_expiry, "lifetime of ten years"),
        (_without_key_names, "kid ''"),
        (_without_reserved_tenants, "for a tenant of our own"),
        (_without_authorization, "no token"),
    ],
)
async def test_the_matrix_notices_a_check_that_is_gone(
    remove: Any,
    shown_by: str,
    database_url: str,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove(monkeypatch)
    every = [
        Attack("no token"),
        *(Attack.with_token(name, bad) for name, bad in hostile.tokens(authority, "acme", "x.y")),
    ]
    # The others are refused as ever, or are not: that says nothing of this check.
    attacks = [attack for attack in every if attack.name == shown_by]
    settings: Settings = development(database_url, authority)

    async with built(settings) as server, running(server, "127.0.0.1:0") as port:
        wrong, _ = await wrong_answers_of_rpcs(
            f"127.0.0.1:{port}", attacks, Owned({}), ["girih.events."]
        )

    assert {one.attack for one in wrong} == {shown_by}


def _ports(deployment: Deployment) -> list[tuple[str, tuple[str, ...]]]:
    return _ports_of(deployment.system)


def _ports_of(system: System) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (system.events_address, EVENTS_RPCS),
        (system.lattice_address, LATTICE_RPCS),
        (system.projections_address, PROJECTIONS_RPCS),
    ]


async def _head(deployment: Deployment, tenant: Tenant) -> Any:
    headers = {"authorization": f"Bearer {tenant.access_token}"}
    async with httpx.AsyncClient(
        base_url=deployment.system.url, headers=headers, timeout=20
    ) as client:
        return (await client.get("/v1/log")).json()
