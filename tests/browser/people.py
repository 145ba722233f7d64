"""Who looks at the console: an owner, a viewer whom they invited, somebody of another tenant."""

import base64
import time
from collections.abc import Generator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx

PASSWORD = "girih-test-password-2718"
ATTEMPTS = 30
"""To append something, a second apart."""


class Session(httpx.Auth):
    """Renews its tokens before they expire, as a page does: what shares a person goes on for longer
    than an access token lives."""

    def __init__(self, url: str, tokens: dict[str, Any]) -> None:
        self._url = url
        self._adopt(tokens)

    def _adopt(self, tokens: dict[str, Any]) -> None:
        self._access, self._refresh = tokens["access_token"], tokens["refresh_token"]
        self._renewed_at_s = time.monotonic() + tokens["expires_in"] / 2

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        if time.monotonic() > self._renewed_at_s:
            answer = yield httpx.Request(
                "POST", f"{self._url}/auth/refresh", json={"refresh_token": self._refresh}
            )
            # Of that alone: what else is asked for may be a stream that does not end.
            answer.read()
            if answer.is_success:
                self._adopt(answer.json())
        request.headers["authorization"] = f"Bearer {self._access}"
        yield request


@dataclass(frozen=True)
class Person:
    """Somebody with a session of their own, apart from those in browsers."""

    email: str
    name: str
    tenant_id: str
    calls: httpx.Client

    def close(self) -> None:
        self.calls.close()

    def post(self, path: str, body: object) -> Any:
        return self.calls.post(path, json=body).raise_for_status().json()

    def append(self, *events: dict[str, Any]) -> list[int]:
        """The positions of events, each appended once, however often it takes: a busy machine may
        answer too late."""
        body = {"events": [{**event, "id": str(uuid4())} for event in events]}
        for _ in range(ATTEMPTS):
            answer = self.calls.post("/v1/events:append", json=body)
            if answer.status_code < HTTPStatus.TOO_MANY_REQUESTS:
                break
            time.sleep(1)
        placements = answer.raise_for_status().json()["placements"]
        return [int(placement["position"]) for placement in placements]


def register(url: str, name: str, tenant_name: str) -> Person:
    """Somebody new, who owns a tenant."""
    email = f"{name.split(maxsplit=1)[0].lower()}@girih.test"
    body = {"email": email, "password": PASSWORD, "name": name, "tenantName": tenant_name}
    httpx.post(f"{url}/auth/register", json=body, timeout=30).raise_for_status()
    return log_in(url, email)


def invite(owner: Person, url: str, name: str) -> Person:
    """Somebody new, who may look at the owner's tenant."""
    email = f"{name.split(maxsplit=1)[0].lower()}@girih.test"
    made = owner.post("/v1/invitations", {"email": email, "role": "ROLE_VIEWER"})
    body = {"token": made["token"], "password": PASSWORD, "name": name}
    httpx.post(f"{url}/auth/invitations:accept", json=body, timeout=30).raise_for_status()
    return log_in(url, email)


def log_in(url: str, email: str) -> Person:
    answer = httpx.post(
        f"{url}/auth/login", json={"email": email, "password": PASSWORD}, timeout=30
    )
    session = answer.raise_for_status().json()
    return Person(
        email,
        session["user"]["name"],
        session["tenant"]["tenantId"],
        httpx.Client(base_url=url, auth=Session(url, session), timeout=30),
    )


@dataclass(frozen=True)
class Furnished:
    """What is in a tenant, by the names that addresses need."""

    stream: str
    event_type: str
    position: int
    correlation_id: str
    lattice_id: str
    field: str
    job_id: str
    group: str


def furnish(owner: Person, word: str) -> Furnished:
    """Something of everything, with `word` in all texts that may have any."""
    stream, event_type = "permit-1", f"submitted {word}"
    payload = {"by": word, "big": 2**63, word: [word, {"deeper": word}]}
    event = {
        "stream": stream,
        "type": event_type,
        "json": payload,
        "tags": [f"tag {word}"],
        "metadata": {"source": word},
    }
    position = owner.append(event)[0]
    owner.calls.put(
        f"/v1/streams/{stream}/metadata", json={"metadata": {word: word}}
    ).raise_for_status()
    owner.post("/v1/schemas", {"type": event_type, "schema": {"description": word}})
    owner.post("/v1/keys", {"name": word[:100], "scopes": ["events.read"]})
    owner.post(
        "/v1/groups",
        {
            "group": "mailer",
            "settings": {"laneCount": 2, "filter": {"queries": [{"types": [event_type]}]}},
        },
    )
    bits = base64.b64encode(bytes([0b00011000, 0, 0, 0])).decode()
    lattice = {"shape": [4, 8], "blocked": bits, "bitOrder": "BIT_ORDER_LITTLE"}
    lattice_id = owner.post("/v1/lattices", lattice)["latticeId"]
    field = {"name": "heat", "numberType": "NUMBER_TYPE_UINT8"}
    owner.post(f"/v1/lattices/{lattice_id}/fields", field)
    simulation = {"simulation": {"ising": {"temperature": 2.5}}, "steps": 100, "seed": 7}
    job = {**simulation, "resultField": "spins", "recordEvery": 5}
    job_id = owner.post(f"/v1/lattices/{lattice_id}/jobs", job)["jobId"]
    trace = owner.calls.get("/v1/events", params={"fromPosition": str(position), "limit": 1})
    correlation_id = trace.json()["context"]["correlationId"]
    return Furnished(
        stream, event_type, position, correlation_id, lattice_id, "heat", job_id, "mailer"
    )
