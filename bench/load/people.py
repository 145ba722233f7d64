"""What people do: register, log in, make a lattice, find paths, append, read, and follow.

Between two things each thinks for a while. Whoever is refused waits for as long as the answer
asks, and tries the same again; what is acknowledged goes into a ledger. Locust has gevent put
in place of the sockets of its process, so nothing but a load process imports this.
"""

import json
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import gevent
from locust import FastHttpUser, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpSession
from locust.exception import RescheduleTask

from bench.load.figures import ANSWERED, Figures, Outcome
from bench.load.ledger import Ledger

PASSWORD: Final = "a strapwork of stars"
ANSWER_TIMEOUT_S: Final = 60.0
ATTEMPTS_MAX: Final = 30
"""How often somebody tries who is refused again and again."""

_SIDE: Final = 20
_CORNERS: Final = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [_SIDE - 1] * 2}}
_STEPS: Final = 2 * (_SIDE - 1)
_PAGE: Final = 20
_SEEN_TIMEOUT_S: Final = 30.0
_RENEWED_S: Final = 60.0
"""So long before an access token expires the next is asked for."""


class GaveUp(RescheduleTask):
    """What was asked for failed, or was refused too often: counted already. Locust goes on with
    something else."""


class Crowd(Protocol):
    """What people of one load process share."""

    figures: Figures
    think_s: float
    """How long somebody thinks in the mean, in seconds."""

    def comes(self, session: FastHttpSession) -> "Caller":
        """Somebody who may be registered already, from now on on these connections."""

    def joined(self, caller: "Caller", ledger: Ledger) -> None:
        """Somebody is about to register."""

    def arrived(self) -> None:
        """Somebody has all that is needed to go on."""


@dataclass
class Caller:
    """Somebody with an account, on connections of their own."""

    crowd: Crowd
    session: FastHttpSession
    email: str = field(default_factory=lambda: f"load-{uuid.uuid4().hex}@girih.test")
    refresh_token: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    renewed_at_s: float = 0.0
    is_registered: bool = False

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """The answer, a list where it comes in lines. Waits refusals out; raises GaveUp."""
        for _ in range(ATTEMPTS_MAX):
            began_s = time.perf_counter()
            response = self.session.request(method, path, headers=self.headers, json=body)
            outcome = outcome_of(response)
            self.crowd.figures.add(name, outcome, time.perf_counter() - began_s)
            if outcome.ending == "answered":
                return parsed(response.headers.get("content-type", ""), response.content)
            if outcome.ending == "failed":
                break
            self.wait_out(outcome)
        raise GaveUp(name)

    @staticmethod
    def wait_out(refusal: Outcome) -> None:
        """Come back when the answer says so, and not all at once."""
        gevent.sleep(refusal.retry_after_s * random.uniform(1.0, 1.5))

    def register(self) -> None:
        who = {"email": self.email, "password": PASSWORD, "name": "Ada"}
        self.ask("register", "POST", "/auth/register", who)
        self.is_registered = True

    def log_in(self) -> None:
        who = {"email": self.email, "password": PASSWORD}
        self._enter(self.ask("log in", "POST", "/auth/login", who))

    def stay_logged_in(self) -> None:
        """Renew the session when its access token is about to expire."""
        if time.monotonic() < self.renewed_at_s:
            return
        token = {"refresh_token": self.refresh_token}
        self._enter(self.ask("refresh", "POST", "/auth/refresh", token))

    def _enter(self, session: Mapping[str, Any]) -> None:
        self.headers = {"Authorization": f"Bearer {session['access_token']}"}
        self.refresh_token = session["refresh_token"]
        self.renewed_at_s = time.monotonic() + float(session["expires_in"]) - _RENEWED_S


def parsed(content_type: str, content: bytes) -> Any:  # noqa: ANN401 - JSON
    if content_type.startswith("application/x-ndjson"):
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content)


def outcome_of(response: Any) -> Outcome:  # noqa: ANN401 - locust's
    """How a request ended, whatever became of it."""
    error = getattr(response, "error", None)
    if response.status_code == 0 or response.headers is None:
        return Outcome("failed", type(error).__name__)
    if response.status_code in ANSWERED:
        # Of a stream the content is still to come.
        return Outcome("answered")
    retry_after = response.headers.get("retry-after")
    return Outcome.of(response.status_code, retry_after, response.content or b"")


class Person(FastHttpUser):
    """Somebody with a tenant of their own."""

    network_timeout = connection_timeout = ANSWER_TIMEOUT_S
    concurrency = 2
    """A stream, and what is asked beside it."""

    def wait_time(self) -> float:
        return random.uniform(0.5, 1.5) * self.crowd.think_s

    def on_start(self) -> None:
        self.crowd: Crowd = self.environment.crowd
        self.caller = self.crowd.comes(self.client)
        self.ledger = Ledger(f"load-{uuid.uuid4().hex}")
        self.crowd.joined(self.caller, self.ledger)
        try:
            if not self.caller.is_registered:
                self.caller.register()
            self.caller.log_in()
            self.lattice_id = self._lattice()
            self.position = self._append()
        except GaveUp:
            self.stop()
        else:
            self.crowd.arrived()

    def on_stop(self) -> None:
        self.client.client.close()

    @task(2)
    def who_am_i(self) -> None:
        self._try("who am i", "GET", "/auth/whoami")

    @task(2)
    def create_lattice(self) -> None:
        self.lattice_id = self._lattice()

    @task(4)
    def find_path(self) -> None:
        answer = self._try(
            "find path", "POST", f"/v1/lattices/{self.lattice_id}:findPath", _CORNERS
        )
        self._expect(
            "find path", int(answer["path"]["steps"]) == _STEPS, "a path of the wrong length"
        )

    @task(4)
    def append(self) -> None:
        self.position = self._append()

    @task(3)
    def read(self) -> None:
        """The newest events of the log, the last that this person appended among them."""
        begin = max(1, self.position - _PAGE + 1)
        path = f"/v1/events?fromPosition={begin}&limit={_PAGE}"
        positions = [int(event["position"]) for event in self._try("read", "GET", path)]
        self._expect("read", self.position in positions, "an event is missing")

    @task(2)
    def follow(self) -> None:
        """Follow the log from the last event on, append one, and wait until it comes."""
        self.caller.stay_logged_in()
        began_s = time.perf_counter()
        stream = self.client.get(
            f"/v1/events?follow=true&fromPosition={self.position + 1}",
            headers={**self.caller.headers, "Accept": "text/event-stream"},
            stream=True,
        )
        outcome = outcome_of(stream)
        self.crowd.figures.add("follow", outcome, time.perf_counter() - began_s)
        if outcome.ending == "refused":
            self.caller.wait_out(outcome)
        if outcome.ending != "answered":
            return
        try:
            self._until_seen(stream)
        finally:
            stream.release()

    def _until_seen(self, stream: Any) -> None:  # noqa: ANN401 - locust's
        self.position = self._append()
        # Behind the position stands the incarnation of the log.
        seen = b"id: %d-" % self.position
        began_s = time.perf_counter()
        outcome = Outcome("failed", "never seen")
        with gevent.Timeout(_SEEN_TIMEOUT_S, exception=False):
            try:
                while line := stream._response.readline(b"\n"):
                    if line.startswith(seen):
                        outcome = Outcome("answered")
                        break
            except FAILURE_EXCEPTIONS as error:
                outcome = Outcome("failed", type(error).__name__)
        self.crowd.figures.add("seen live", outcome, time.perf_counter() - began_s)

    def _lattice(self) -> str:
        request_id = str(uuid.uuid4())
        body = {"dimensions": 2, "size": _SIDE, "requestId": request_id}
        lattice_id: str = self._try("create lattice", "POST", "/v1/lattices", body)["latticeId"]
        self.ledger.lattices.add(lattice_id)
        return lattice_id

    def _append(self) -> int:
        event_id = str(uuid.uuid4())
        event = {
            "id": event_id,
            "stream": self.ledger.stream,
            "type": "worked",
            "json": {"by": "Ada"},
        }
        answer = self._try("append", "POST", "/v1/events:append", {"events": [event]})
        position = int(answer["placements"][0]["position"])
        self.ledger.positions[event_id] = position
        return position

    def _try(self, *request: Any) -> Any:  # noqa: ANN401 - JSON
        self.caller.stay_logged_in()
        return self.caller.ask(*request)

    def _expect(self, name: str, holds: bool, problem: str) -> None:
        if not holds:
            self.crowd.figures.add(name, Outcome("failed", problem), 0.0)
