"""The scope that a route declares is what it asks for: no other will do, and none beside it."""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.accounts.policy.roles import KEY_SCOPES
from gateway.app import read_contract
from gateway.contract.descriptors import scope_of
from gateway.contract.rules import Rule
from services.plumbing.identity import SIGNED_IN
from services.policy import GATEWAY, SCOPES
from tests.asking import patient_client
from tests.security.conftest import PASSWORD, Deployment, Tenant, settled
from tests.security.matrix import guarded, path_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OPERATORS = {"logs.place", "logs.restore", "plans.write"}
"""Scopes that only tokens of the gateway's own have."""

_CORNERS: dict[str, Any] = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [3, 3]}}
_STOP: dict[str, Any] = {"sites": [{"coordinates": [0, 0]}]}
_STOPPED: dict[str, Any] = {"sources": _STOP["sites"]}
_EVENT = {"stream": "permit-1", "type": "submitted", "json": {"by": "Ada"}}
BODIES: dict[str, dict[str, Any]] = {
    "POST /auth/password": {"password": PASSWORD, "newPassword": "another strapwork of stars"},
    "POST /auth/tickets": {"url": "/v1/events?follow=true"},
    "PATCH /v1/members/{user_id}": {"role": "ROLE_OWNER"},
    "POST /v1/invitations": {"email": "omar@girih.test", "role": "ROLE_MEMBER"},
    "POST /v1/keys": {"name": "importer", "scopes": ["usage.read"]},
    "POST /v1/tenants/{tenant_id}:setPlan": {"plan": {"name": "professional"}},
    "POST /v1/events:append": {"events": [_EVENT]},
    "POST /v1/events:appendStream": {"events": [_EVENT]},
    "POST /v1/groups": {"group": "mailing", "settings": {"laneCount": 1}},
    "PUT /v1/groups/{group}": {"settings": {"laneCount": 2}},
    "POST /v1/groups/{group}:reset": {"start": {"position": 1}},
    "POST /v1/groups/{group}/parked:replay": {"all": True},
    "POST /v1/groups/{group}/parked:discard": {"all": True},
    "POST /v1/schemas": {"type": "granted", "version": 1, "schema": True},
    "POST /v1/schemas/{type}:registerUpcaster": {"upcaster": {"fromVersion": 1, "toVersion": 2}},
    "PUT /v1/streams/{stream}/metadata": {"metadata": {"owner": "us"}},
    "PUT /v1/streams/{stream}/retention": {"retention": {"maxCount": "1"}},
    "POST /v1/streams/{stream}/tombstone": {},
    "POST /v1/events/{position}:redact": {"reason": "an address"},
    "POST /v1/streams/{stream}/snapshots": {"revision": 0, "json": {}},
    "POST /v1/lattices": {"dimensions": 2, "size": 4},
    "POST /v1/lattices/{lattice_id}/fields": {"name": "new", "numberType": "NUMBER_TYPE_UINT8"},
    "POST /v1/lattices/{lattice_id}/fields/{name}/uploads": {"numberType": "NUMBER_TYPE_UINT8"},
    "POST /v1/lattices/{lattice_id}/fields/{name}:transform": {
        "transforms": [{"reflect": {"axes": [0]}}]
    },
    "POST /v1/lattices/{lattice_id}/fields/{name}:preview": {
        "transforms": [{"reflect": {"axes": [0]}}]
    },
    "POST /v1/jobs/{job_id}:render": {},
    "POST /v1/lattices/{lattice_id}/fields/{name}:undo": {},
    "POST /v1/lattices/{lattice_id}/fields/{name}:redo": {},
    "POST /v1/lattices/{lattice_id}:transform": {"transforms": [{"reflect": {"axes": [0]}}]},
    "POST /v1/lattices/{lattice_id}:writeBlocked": {
        "region": {"origin": _CORNERS["start"], "shape": [1, 4]},
        "blocked": "CA==",
        "bitOrder": "BIT_ORDER_LITTLE",
    },
    "POST /v1/lattices/{lattice_id}:blockByField": {"name": "height"},
    "POST /v1/lattices/{lattice_id}:undo": {},
    "POST /v1/lattices/{lattice_id}:redo": {},
    "POST /v1/lattices/{lattice_id}/jobs": {"simulation": {"sandpile": {}}, "steps": "1"},
    "POST /v1/lattices/{lattice_id}:startTransform": {"transforms": [{"reflect": {"axes": [0]}}]},
    "POST /v1/lattices/{lattice_id}/fields/{name}:startTransform": {
        "transforms": [{"reflect": {"axes": [0]}}]
    },
    "POST /v1/lattices/{lattice_id}:startComponentLabels": {"resultField": "labels"},
    "POST /v1/jobs/{job_id}:cancel": {},
    "POST /v1/jobs/{job_id}:continue": {},
    "POST /v1/lattices/{lattice_id}:render": {"pixelsMax": 100},
    "POST /v1/lattices/{lattice_id}:findPath": _CORNERS,
    "POST /v1/lattices/{lattice_id}:findPaths": {"queries": [_CORNERS]},
    "POST /v1/lattices/{lattice_id}:distances": {
        "sources": [{"coordinates": [0, 0]}],
        "targets": [{"coordinates": [3, 3]}],
    },
    "POST /v1/lattices/{lattice_id}:findRoute": {"stops": [_STOP, _STOP]},
    "POST /v1/lattices/{lattice_id}:countPaths": _CORNERS,
    "POST /v1/lattices/{lattice_id}:simplePaths": _CORNERS | {"lengthMax": 6},
    "POST /v1/lattices/{lattice_id}:reachable": _STOPPED | {"lengthMax": 1},
    "POST /v1/lattices/{lattice_id}:nearestSources": _STOPPED,
    "POST /v1/projections/{projection}:pause": {},
    "POST /v1/projections/{projection}:resume": {},
    "POST /v1/projections/{projection}:rebuild": {},
    "POST /v1/projections/{projection}:setPolicies": {"poisonPolicy": "POISON_POLICY_STOP"},
    "POST /v1/projections/{projection}/quarantine:replay": {"all": True},
    "POST /v1/projections/{projection}/quarantine/{position}:discard": {},
    "POST /v1/lattices/{lattice_id}:degreeHistogram": {},
    "POST /v1/lattices/{lattice_id}:components": {},
    "POST /v1/lattices/{lattice_id}:componentLabels": {},
    "POST /v1/lattices/{lattice_id}:extent": {},
    "POST /v1/lattices/{lattice_id}:centrality": {"measure": "MEASURE_DEGREE"},
    "POST /v1/lattices/{lattice_id}:spectrum": {"k": 2},
    "POST /v1/lattices/{lattice_id}:heat": {"source": _STOP["sites"][0], "time": 1},
    "POST /v1/lattices/{lattice_id}:resistances": {"pairs": [_CORNERS]},
    "POST /v1/lattices/{lattice_id}:spanningTrees": {},
    "POST /v1/lattices/{lattice_id}:minimumSpanningTree": {},
    "POST /v1/lattices/{lattice_id}:colouring": {},
    "POST /v1/lattices/{lattice_id}:communities": {},
    "POST /v1/lattices/{lattice_id}:percolation": {"runs": 2, "shares": [0.5]},
}
"""What a route with a body is sent, so that it gets as far as it can."""

ELSE_REFUSED = {
    # No token gives what its caller does not have. No role and no key has this scope alone.
    ("POST /v1/keys", "token"): "SCOPE_MISSING",
    # A key has no password.
    ("POST /auth/password", "key"): "NOT_A_USER",
    # Nor a session.
    ("POST /auth/tickets", "key"): "NOT_A_USER",
    ("GET /auth/sessions", "key"): "NOT_A_USER",
    ("DELETE /auth/sessions/{session_id}", "key"): "NOT_A_USER",
    ("GET /auth/tenants", "key"): "NOT_A_USER",
}
"""What is refused for another reason than the scope that the route declares."""


NOTHING_THERE = {
    # What a projection does not show yet: no test waits for it to.
    "GET /v1/documents/{document}": "DOCUMENT_NOT_FOUND",
    "POST /v1/lattices/{lattice_id}:blockByField": "FIELD_NOT_FOUND",
    "POST /v1/lattices/{lattice_id}/fields/{name}:undo": "NOTHING_TO_UNDO",
    "POST /v1/lattices/{lattice_id}/fields/{name}:redo": "NOTHING_TO_REDO",
    "POST /v1/lattices/{lattice_id}:undo": "NOTHING_TO_UNDO",
    "POST /v1/lattices/{lattice_id}:startComponentLabels": "WORK_TOO_LARGE",
    "POST /v1/lattices/{lattice_id}:redo": "NOTHING_TO_REDO",
}
"""What who is let in is told where there is nothing to do or to show yet."""

QUERIES: dict[str, dict[str, Any]] = {
    "POST /v1/lattices:upload": {"shape": ["16", "8"], "bitOrder": "1"},
    "GET /v1/log/position": {"time": "2026-11-29T09:30:00Z"},
    "GET /v1/lattices/{lattice_id}/fields/{name}:diff": {"fromRevision": "1"},
    "GET /v1/projections/{projection}:wait": {"position": "1", "timeoutS": "0"},
}
"""What a request must say beside its path."""


@pytest.fixture(scope="module")
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    with patient_client(deployment.system.url) as made:
        yield made


@pytest.fixture(scope="module")
def settled_tenant(client: httpx.Client) -> Tenant:
    """Owns one of everything, which nobody takes away: other tests here attack who does not."""
    return settled(client, "scopes", "scopes")


@pytest.fixture
def tenant(rule: Rule, client: httpx.Client, settled_tenant: Tenant) -> Tenant:
    """A tenant of the test's own, unless the route changes nothing of it."""
    if scope_of(rule.method).endswith(".read"):
        return settled_tenant
    name = f"scopes-{secrets.token_hex(8)}"
    return settled(client, name, name, fields=_named(rule.template.text))


_named = re.compile(r"\{(\w+)").findall


def shown(rule: Rule) -> str:
    return f"{rule.http_method} {rule.template.text}"


RULES = list(guarded(read_contract()))


@pytest.mark.parametrize("rule", RULES, ids=shown)
def test_a_token_with_the_declared_scope_alone_is_let_in(
    rule: Rule, deployment: Deployment, tenant: Tenant, client: httpx.Client
) -> None:
    scope = scope_of(rule.method)
    scopes = [] if scope == SIGNED_IN else [scope]

    answer = _send(client, rule, tenant, _token(deployment, tenant, scopes))

    _assert_let_in(answer, rule, "token")


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if scope_of(rule.method) != SIGNED_IN], ids=shown
)
def test_a_token_with_all_other_scopes_is_kept_out(
    rule: Rule, deployment: Deployment, client: httpx.Client
) -> None:
    scope = scope_of(rule.method)
    others = sorted(SCOPES - OPERATORS - {scope})

    answer = _send(
        client, rule, deployment.attacked, _token(deployment, deployment.attacked, others)
    )

    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["details"]["metadata"]["scope"] == scope


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if scope_of(rule.method) in KEY_SCOPES | {SIGNED_IN}], ids=shown
)
def test_a_key_with_the_declared_scope_alone_is_let_in(
    rule: Rule, tenant: Tenant, client: httpx.Client
) -> None:
    scope = scope_of(rule.method)
    made = client.post(
        "/v1/keys",
        headers=_bearer(tenant.access_token),
        json={"name": "one scope", "scopes": ["usage.read" if scope == SIGNED_IN else scope]},
    )

    answer = _send(client, rule, tenant, made.json()["secret"])

    _assert_let_in(answer, rule, "key")


def test_every_scope_of_a_key_is_one_that_some_rpc_declares() -> None:
    methods = (method for service in read_contract().services for method in service.methods)
    assert {scope_of(method) for method in methods} >= KEY_SCOPES


def _assert_let_in(answer: httpx.Response, rule: Rule, with_what: str) -> None:
    refused_for = ELSE_REFUSED.get((shown(rule), with_what))
    if refused_for is None:
        # A conflict is as good: the last owner stays. A malformed request would prove nothing.
        is_let_in = answer.is_success or answer.status_code == httpx.codes.CONFLICT
        assert is_let_in or NOTHING_THERE.get(shown(rule), "?") in answer.text, answer.text
        return
    details = answer.json()["error"]["details"]
    assert (answer.status_code, details["reason"]) == (403, refused_for)
    assert details.get("metadata", {}).get("scope") != scope_of(rule.method)


def _send(client: httpx.Client, rule: Rule, tenant: Tenant, token: str) -> httpx.Response:
    """What is answered; of a stream that was begun not what it says, which may take for ever."""
    request = client.build_request(
        rule.http_method,
        path_of(rule, tenant.owned),
        params=QUERIES.get(shown(rule), {}),
        headers=_bearer(token) | _content_type(rule),
        content=_content(rule),
    )
    answer = client.send(request, stream=True)
    try:
        if not (answer.is_success and rule.method.server_streaming):
            answer.read()
    finally:
        answer.close()
    return answer


def _content_type(rule: Rule) -> dict[str, str]:
    if not rule.body or rule.takes_bytes:
        return {}
    kind = "application/x-ndjson" if rule.method.client_streaming else "application/json"
    return {"content-type": kind}


def _content(rule: Rule) -> bytes | None:
    if not rule.body:
        return None
    return bytes(16) if rule.takes_bytes else json.dumps(BODIES[shown(rule)]).encode()


def _token(deployment: Deployment, tenant: Tenant, scopes: list[str]) -> str:
    """As the gateway issues them: to a member, or for operators to the gateway itself."""
    authority = deployment.system.authority
    if OPERATORS.intersection(scopes):
        return authority.service_token(
            GATEWAY, "girih-operators", scopes, service=GATEWAY, sub=GATEWAY
        )
    return authority.token(tenant.tenant_id, scopes, sub=f"user:{tenant.user_id}")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
