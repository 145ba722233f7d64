"""Asks everything of a gateway, and says which answers nobody may get, whatever the trouble is.

A call that fails must be told something that docs/reference/errors.md documents, with its status,
and that it may be made again: trouble is nobody's fault who calls. It must be told so in time.
"""

import asyncio
import copy
import json
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from gateway.app import read_contract
from gateway.contract.descriptors import example_of, only_reads
from gateway.contract.reasons import RETRIES, Reason, reasons_of
from gateway.contract.rules import Rule
from girih.options.v1.options_pb2 import ErrorOptions
from tests.security.conftest import PASSWORD, Tenant, settled
from tests.security.matrix import CANARY, Owned, guarded, path_of

DEADLINE_S = 10.0
"""What each call asks for, in seconds."""
LATE_S = 5.0
"""How much later an answer may be: the machine is busy with everything at once."""
AT_ONCE = 16
TOO_MANY = 429
_LOOKS = 5
RETRY_SAME = RETRIES[ErrorOptions.RETRY_SAME_CALL]
RETRY_NEW_TOKEN = RETRIES[ErrorOptions.RETRY_NEW_TOKEN]

NEVER_IN_TROUBLE = ("/health/live", "/openapi.json", "/.well-known/jwks.json", "/docs")
"""What needs nothing but the gateway itself."""

_LARGE_SIDE = 200
"""Of a lattice whose fields are files."""
_EXAMPLE_SIDE = 10
_EVENT_BYTES = 8_192
_LARGE_EVENT_BYTES = 200_000


@dataclass(frozen=True)
class Call:
    """What is asked."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    content: bytes | None = None
    is_refused_at_rest: bool = False
    """Nothing of what it names is there, or it says too little: it fails without trouble, too."""
    note: str = ""
    """What tells it from others of its route."""
    is_bare: bool = False
    """It may say nothing of a deadline, and of who calls."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}{self.note}"


@dataclass(frozen=True)
class Answer:
    """What came of a call. Status 0: nothing came."""

    call: Call
    status: int
    reason: str
    took_s: float
    text: str = field(default="", repr=False)

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class Answers:
    """The answers to many calls, counted."""

    answers: list[Answer] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    """What those were told who are told something else at rest."""
    broken: Counter[str] = field(default_factory=Counter)

    @property
    def good_count(self) -> int:
        return sum(one.is_good for one in self.answers)

    @property
    def slowest_s(self) -> float:
        return max((one.took_s for one in self.answers), default=0.0)


class Asker:
    """Asks as somebody who owns one of everything that can be named."""

    def __init__(self, url: str, tenant: Tenant, large: str = "", example: str = "") -> None:
        """`large` and `example` are lattices: one whose fields are files, and one that the
        contract's examples fit."""
        self._url = url
        self._large = large
        self._owned = Owned({**tenant.owned.by_field, "lattice_id": example})
        self._tenant = tenant
        self.token = tenant.access_token
        self._email = f"{tenant.owned.by_field.get('asker', 'asker')}@girih.test"
        self._at_rest: dict[str, int] = {}
        self._reasons = {one.name: one for one in reasons_of(read_contract())}

    @classmethod
    def settle(cls, url: str, fields: Collection[str] | None = None) -> "Asker":
        """Register, and own one of everything, or of what `fields` name."""
        with httpx.Client(base_url=url, timeout=60) as http:
            tenant = _settled(http, fields)
            http.headers["authorization"] = f"Bearer {tenant.access_token}"
            made = [
                http.post("/v1/lattices", json={"dimensions": dimensions, "size": size})
                for dimensions, size in ((2, _LARGE_SIDE), (3, _EXAMPLE_SIDE))
            ]
            return cls(url, tenant, *(one.raise_for_status().json()["latticeId"] for one in made))

    async def look_at_rest(self) -> None:
        """Ask everything once without trouble, to know what is refused then, too."""
        asked = self.calls()
        for _ in range(_LOOKS):
            seen = await self.ask(asked)
            self._at_rest |= {one.call.name: one.status for one in seen.answers}
            wrong = [
                one
                for one in seen.answers
                if not (one.is_good or (one.call.is_refused_at_rest and one.status < TOO_MANY))
            ]
            # All at once may be too much for a machine that is busy with something else.
            asked = [one.call for one in wrong]
        if wrong:
            raise RuntimeError(f"asked at rest, and not answered: {wrong[:3]} {wrong[0].text}")

    async def log_in(self) -> None:
        """Have a token of now."""
        body = {"email": self._email, "password": PASSWORD}
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            answer = (await http.post("/auth/login", json=body)).raise_for_status()
        self.token = answer.json()["access_token"]

    def calls(self) -> list[Call]:
        """Every route of the contract, some of them with what makes them work."""
        return [*self.main_calls(), *self._every_route()]

    def main_calls(self) -> list[Call]:
        """Calls of each service that do something, and succeed without trouble."""
        owned = self._tenant.owned.by_field
        stream, lattice = owned["stream"], owned["lattice_id"]
        # Large enough to need room, and of what cannot be made smaller.
        text = secrets.token_urlsafe(_EVENT_BYTES)
        event = {"stream": f"asked-{secrets.token_hex(4)}", "type": "asked", "json": text}
        values = f"/v1/lattices/{self._large}/fields/asked/values?numberType=4"
        path = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [3, 3]}}
        login = {"email": self._email, "password": PASSWORD}
        return [
            Call("POST", "/auth/login", login, is_bare=True),
            Call("POST", "/v1/events:append", {"events": [event]}),
            Call("GET", f"/v1/streams/{stream}/events"),
            Call("GET", "/v1/events?limit=5"),
            Call("POST", "/v1/lattices", {"dimensions": 2, "size": 4}),
            Call("POST", f"/v1/lattices/{lattice}:findPath", path),
            Call("PUT", values, content=secrets.token_bytes(_LARGE_SIDE**2)),
            Call("GET", f"/v1/lattices/{lattice}/fields"),
            Call("GET", "/v1/keys"),
            Call("GET", "/v1/documents"),
        ]

    def with_token(self, token: str) -> "Asker":
        """The same for who calls with another token, or with a key."""
        other = copy.copy(self)
        other.token = token
        return other

    def reads_and_appends(self, stream: str) -> list[Call]:
        """Calls of which there may be as many as one likes."""
        lattice = self._tenant.owned.by_field["lattice_id"]
        path = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [3, 3]}}
        event = {"stream": stream, "type": "asked", "json": {"n": 1}}
        return [
            Call("POST", "/v1/events:append", {"events": [event]}),
            Call("GET", f"/v1/streams/{stream}/events?limit=10"),
            Call("POST", f"/v1/lattices/{lattice}:findPath", path),
            Call("GET", "/v1/log"),
        ]

    def connected(self) -> httpx.AsyncClient:
        """For `ask_once`."""
        return httpx.AsyncClient(base_url=self._url, limits=httpx.Limits(max_connections=AT_ONCE))

    async def ask(self, calls: Sequence[Call]) -> Answers:
        """Ask all of it, some at once. Never raises."""
        turns = asyncio.Semaphore(AT_ONCE)
        async with self.connected() as http:

            async def ask(call: Call) -> Answer:
                async with turns:
                    return await self.ask_once(http, call)

            return Answers(list(await asyncio.gather(*(ask(call) for call in calls))))

    def judge(self, answers: Answers, *, retries: Iterable[str] = (RETRY_SAME,)) -> None:
        """Count in `answers` what those were told who are served otherwise, and in its `broken`
        what nobody may be told. `retries` are the ways on that an answer may name."""
        allowed = frozenset(retries)
        for one in answers.answers:
            is_as_at_rest = one.is_good or one.status == self._at_rest.get(one.call.name)
            answers.reasons[one.reason or str(one.status)] += not is_as_at_rest
            wrong = self._wrong(one, allowed)
            if wrong:
                answers.broken[f"{one.call.name}: {wrong}"] += 1
        answers.reasons = +answers.reasons

    def _wrong(self, one: Answer, retries: frozenset[str]) -> str:
        if one.took_s > DEADLINE_S + LATE_S:
            return f"answered {one.status} {one.reason} after {one.took_s:.1f} s"
        if one.is_good or one.status == self._at_rest.get(one.call.name):
            return ""
        documented: Reason | None = self._reasons.get(one.reason)
        if documented is None or documented.http_status != one.status:
            return f"{one.status} {one.reason or one.text[:100]} is not documented"
        if documented.retry not in retries:
            return f"{one.status} {one.reason} says {documented.retry}"
        return ""

    async def ask_once(self, http: httpx.AsyncClient, call: Call) -> Answer:
        """Never raises."""
        headers = {"X-Request-Timeout": f"{DEADLINE_S:g}"}
        if not call.is_bare:
            headers["Authorization"] = f"Bearer {self.token}"
        began_s = time.monotonic()
        try:
            # Bounded as a whole: httpx's own limits are from one byte to the next.
            async with asyncio.timeout(2 * (DEADLINE_S + LATE_S)):
                answer = await http.request(
                    call.method,
                    call.path,
                    json=call.json,
                    content=call.content,
                    headers=headers,
                    timeout=None,
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return Answer(call, 0, "", time.monotonic() - began_s, f"{type(error).__name__}")
        took_s = time.monotonic() - began_s
        return Answer(call, answer.status_code, reason_of(answer), took_s, answer.text[:300])

    def _every_route(self) -> Iterator[Call]:
        """What only reads names what is there, and asks what the contract gives as an example;
        what changes something names what is not there."""
        nobody = Owned({"user_id": self._tenant.user_id, "tenant_id": self._tenant.tenant_id})
        for rule in guarded(read_contract()):
            reads = only_reads(rule.method)
            owned = self._owned if reads or rule.http_method == "GET" else nobody
            body: dict[str, Any] | None = None
            if rule.body and not _takes_bytes(rule):
                body = json.loads(example_of(rule.method) or "{}") if reads else {}
            path = path_of(rule, owned)
            yield Call(rule.http_method, path, body, is_refused_at_rest=True, note=" as any")
        # What a process beside makes a message of.
        much = {"stream": "asked-much", "type": "asked", "json": "x" * _LARGE_EVENT_BYTES}
        yield Call("POST", "/v1/events:append", {"events": [much]}, note=" of much")
        for path in NEVER_IN_TROUBLE:
            yield Call("GET", path, is_bare=True)


def _settled(http: httpx.Client, fields: Collection[str] | None) -> Tenant:
    """A machine that is busy with something else may take too long for a part of it: then somebody
    else has another try."""
    for name in ("asker", "asker-2", "asker-3"):
        try:
            tenant = settled(http, name, CANARY, fields)
        except AssertionError:
            http.headers.pop("authorization", None)
            continue
        return replace(tenant, owned=Owned({**tenant.owned.by_field, "asker": name}))
    raise RuntimeError("nobody could settle")


def _takes_bytes(rule: Rule) -> bool:
    return rule.body == "body"


def reason_of(answer: httpx.Response) -> str:
    """Empty where there is none."""
    if answer.is_success or "json" not in answer.headers.get("content-type", ""):
        return ""
    reason = answer.json().get("error", {}).get("details", {}).get("reason", "")
    return str(reason)
