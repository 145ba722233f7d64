"""A whole girih with two tenants that do not know each other."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.plumbing.auth.tokens import LIFETIME_S_MAX
from tests.asking import patient_client, served
from tests.processes import PATIENT, System, own_postgres, running_system
from tests.security.matrix import CANARY, Owned

UNLIMITED = {
    "GATEWAY_ADDRESS_CALLS_PER_MINUTE": "0",
    "GATEWAY_USER_CALLS_PER_MINUTE": "0",
    "GATEWAY_TENANT_CALLS_PER_MINUTE": "0",
    "GATEWAY_LOGIN_FAILURE_COUNT_MAX": "0",
    "GATEWAY_REGISTRATION_COUNT_MAX": "0",
}
"""Attacks must be refused for what they are, not for how many they are."""

PASSWORD = "girih-test-password-3141"


@dataclass(frozen=True)
class Tenant:
    """Somebody who registered, and what belongs to them."""

    tenant_id: str
    user_id: str
    access_token: str
    refresh_token: str
    owned: Owned


@dataclass(frozen=True)
class Deployment:
    """A girih with two tenants."""

    system: System
    attacked: Tenant
    attacker: Tenant


@pytest.fixture(scope="package")
def deployment() -> Iterator[Deployment]:
    with (
        own_postgres() as (postgres, folder),
        # Jobs wait until they are cancelled: none is worth a process here. Tokens last as long as
        # they may: on a busy machine the tests of a package take longer than a usual one.
        running_system(
            postgres.url,
            folder,
            **UNLIMITED,
            **PATIENT,
            LATTICE_JOBS_AT_ONCE="0",
            GATEWAY_ACCESS_TOKEN_S=f"{LIFETIME_S_MAX}",
        ) as system,
        patient_client(system.url) as client,
    ):
        deployment = Deployment(
            system, settled(client, "ada", CANARY), settled(client, "eve", "eve")
        )
        for tenant in (deployment.attacked, deployment.attacker):
            until_shown(client, tenant)
        yield deployment


def settled(
    client: httpx.Client, name: str, mark: str, fields: Collection[str] | None = None
) -> Tenant:
    """Register, and own one of everything that the contract can name, with a mark in it; where
    `fields` are given, of what they name alone."""
    who = {"email": f"{name}@girih.test", "password": PASSWORD}
    registered = _post(client, "/auth/register", {**who, "name": name})
    session = _post(client, "/auth/login", who)
    client.headers["authorization"] = f"Bearer {session['access_token']}"
    owned = {
        "projection": "event_types",
        "name": mark,
        "indicator": "open_cases",
        "user_id": registered["user"]["userId"],
        "tenant_id": registered["tenant"]["tenantId"],
    }
    for named, own in OWNING.items():
        if fields is None or named.intersection(fields):
            owned |= own(client, name, mark)
    del client.headers["authorization"]
    return Tenant(
        tenant_id=owned["tenant_id"],
        user_id=owned["user_id"],
        access_token=session["access_token"],
        refresh_token=session["refresh_token"],
        owned=Owned(owned),
    )


def _own_stream(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    event = {"stream": "own-stream", "type": "planted", "json": {"by": mark}}
    appended = _post(client, "/v1/events:append", {"events": [event]})
    return {"stream": "own-stream", "position": appended["placements"][0]["position"]}


def _own_document(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    upload_document(client, "own-document", mark)
    return {"document": "own-document"}


def _own_schemas(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    for version in (1, 2):
        planted = {"type": "planted-type", "version": version, "schema": {"const": mark}}
        _post(client, "/v1/schemas", planted)
    return {"type": "planted-type"}


def _own_group(client: httpx.Client, name: str, mark: str) -> dict[str, str]:
    settings = {"laneCount": 1, "filter": {"queries": [{"types": [mark]}]}}
    _post(client, "/v1/groups", {"group": f"group-{name}", "settings": settings})
    return {"group": f"group-{name}"}


def _own_lattice(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    lattice = _post(client, "/v1/lattices", {"dimensions": 2, "size": 4})
    field_path = f"/v1/lattices/{lattice['latticeId']}/fields/{mark}"
    written = client.put(f"{field_path}/values?numberType=4", content=bytes(16))
    assert written.is_success, written.text
    upload = _post(client, f"{field_path}/uploads", {"numberType": "NUMBER_TYPE_UINT8"})
    steps = {"simulation": {"sandpile": {}}, "steps": "1", "resultField": mark}
    job = _post(client, f"/v1/lattices/{lattice['latticeId']}/jobs", steps)
    _post(client, f"/v1/jobs/{job['jobId']}:cancel", {})
    return {
        "lattice_id": lattice["latticeId"],
        "upload_id": upload["uploadId"],
        "job_id": job["jobId"],
    }


def _own_invitation(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    invited = {"email": f"{mark}-guest@girih.test", "role": "ROLE_VIEWER"}
    invitation = _post(client, "/v1/invitations", invited)
    return {"invitation_id": invitation["invitation"]["invitationId"]}


def _own_key(client: httpx.Client, _name: str, mark: str) -> dict[str, str]:
    key = _post(client, "/v1/keys", {"name": mark, "scopes": ["events.read"]})
    return {"key_id": key["key"]["keyId"]}


def _own_session(client: httpx.Client, name: str, _mark: str) -> dict[str, str]:
    session = _post(client, "/auth/login", {"email": f"{name}@girih.test", "password": PASSWORD})
    return {"session_id": str(UUID(session["refresh_token"].partition(".")[0]))}


OWNING: dict[frozenset[str], Callable[[httpx.Client, str, str], dict[str, str]]] = {
    frozenset({"stream", "position"}): _own_stream,
    frozenset({"document"}): _own_document,
    frozenset({"type"}): _own_schemas,
    frozenset({"group"}): _own_group,
    frozenset({"lattice_id", "upload_id", "job_id"}): _own_lattice,
    frozenset({"invitation_id"}): _own_invitation,
    frozenset({"key_id"}): _own_key,
    frozenset({"session_id"}): _own_session,
}
"""What makes a tenant own what so many fields name."""


def upload_document(client: httpx.Client, document: str, mark: str) -> None:
    """One with an element."""
    original = {
        "name": mark,
        "media_type": "a/b",
        "byte_count": 1,
        "sha256": "",
        "uploaded_by": "",
    }
    element = {"id": mark, "kind": "reference", "target": mark}
    payloads = {
        f"document-{document}": ("document-uploaded", {"original": original}),
        f"extraction-{document}": (
            "element-extracted",
            {"document": document, "element": element},
        ),
    }
    events = [
        {"stream": stream, "type": event_type, "json": payloads}
        for stream, (event_type, payloads) in payloads.items()
    ]
    _post(client, "/v1/events:append", {"events": events})


def until_shown(client: httpx.Client, tenant: Tenant) -> None:
    """Return once the projection of documents holds what the tenant has appended."""
    headers = {"authorization": f"Bearer {tenant.access_token}"}
    head = client.get("/v1/log", headers=headers).json()["headPosition"]
    waited = client.get(
        "/v1/projections/documents:wait",
        params={"position": head, "timeoutS": 60},
        headers=headers,
        timeout=90,
    )
    assert waited.json()["reached"], waited.text


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = served(lambda: client.post(path, json=body))
    assert response.is_success, response.text
    result: dict[str, Any] = response.json()
    return result
