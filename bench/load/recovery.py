"""How soon a girih is itself again after a load: what one caller is told who asks for little."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx

WITHIN_S: Final = 10.0
"""How long after a load a girih may take to be itself again."""

_ROUNDS: Final = 20
"""How often it is asked before the load, for what is usual."""
_IN_A_ROW: Final = 5
_SLOWEST_S: Final = 0.25
_SLOWER: Final = 3.0
"""A round may take so long, or so many times as long as the slowest before the load: other
programs use the machine as well."""
_WAIT_S_MAX: Final = 120.0
_PASSWORD: Final = "a strapwork of stars"


@dataclass
class Probe:
    """One caller who appends, reads it and finds a path, again and again."""

    client: httpx.Client
    login: Mapping[str, str]
    """Its address and password."""
    lattice_id: str = ""
    usual_s: float = 0.0
    stream: str = field(default_factory=lambda: f"probe-{uuid4().hex}")

    def begin(self) -> None:
        """Log in, and have a lattice. Raises httpx.HTTPError."""
        self._log_in()
        self.lattice_id = self._post("/v1/lattices", {"dimensions": 2, "size": 20})["latticeId"]

    def learn(self) -> None:
        """See how long a round takes while nobody else calls."""
        self.usual_s = max(self._round_s() for _ in range(_ROUNDS))

    @property
    def bound_s(self) -> float:
        return max(_SLOWEST_S, _SLOWER * self.usual_s)

    def recovered_after_s(self) -> float:
        """How long it takes, from now on, until it is logged in and several rounds in a row are
        answered as usual. Infinite when that is not so within two minutes."""
        began_s = time.monotonic()
        good_since_s, good = began_s, 0
        # The token of before may have ended with the load.
        is_logged_in = False
        while time.monotonic() - began_s < _WAIT_S_MAX:
            round_began_s = time.monotonic()
            try:
                if not is_logged_in:
                    self._log_in()
                    is_logged_in = True
                is_good = self._round_s() <= self.bound_s and self._is_ready()
            except httpx.HTTPError:
                is_good = False
            good = good + 1 if is_good else 0
            if good == 1:
                good_since_s = round_began_s
            if good == _IN_A_ROW:
                return good_since_s - began_s
            if not is_good:
                time.sleep(0.05)
        return float("inf")

    def _round_s(self) -> float:
        """Raises httpx.HTTPError, also for refusals."""
        began_s = time.perf_counter()
        event = {"stream": self.stream, "type": "probed", "json": {}}
        placements = self._post("/v1/events:append", {"events": [event]})["placements"]
        path = f"/v1/events?fromPosition={placements[0]['position']}&limit=1"
        self.client.get(path).raise_for_status()
        corners = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [19, 19]}}
        self._post(f"/v1/lattices/{self.lattice_id}:findPath", corners)
        return time.perf_counter() - began_s

    def _log_in(self) -> None:
        session = self._post("/auth/login", self.login)
        self.client.headers["Authorization"] = f"Bearer {session['access_token']}"

    def _is_ready(self) -> bool:
        return self.client.get("/health/ready").is_success

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return self.client.post(path, json=body).raise_for_status().json()


@contextmanager
def probe(url: str) -> Iterator[Probe]:
    """Somebody with an account and a lattice. Raises httpx.HTTPError."""
    who = {"email": f"probe-{uuid4().hex}@girih.test", "password": _PASSWORD}
    with httpx.Client(base_url=url, timeout=30.0) as client:
        client.post("/auth/register", json={**who, "name": "Ada"}).raise_for_status()
        prober = Probe(client, who)
        prober.begin()
        yield prober
