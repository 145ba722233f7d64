"""Many people of one machine: each registers, logs in, and works as a person at a page would.

    locust --headless --users=100 --spawn-rate=10 --run-time=60s --host http://127.0.0.1:8000 \\
        --locustfile tests/acceptance/locustfile.py

`python -m tests.acceptance.many_people` starts a girih for it. Needs locust, which no environment
of this repository has: it replaces the sockets of its process with gevent's. It exits with 1 when
any request was refused or failed.
"""

import secrets
from typing import Any

from locust import HttpUser, between, task

PASSWORD = "a strapwork of stars"
_CORNERS = {"start": {"coordinates": [0, 0]}, "goal": {"coordinates": [19, 19]}}


class Person(HttpUser):
    """Somebody with a tenant of their own."""

    wait_time = between(1, 3)

    def on_start(self) -> None:
        email = f"load-{secrets.token_hex(8)}@girih.test"
        who = {"email": email, "password": PASSWORD}
        self.client.post("/auth/register", json={**who, "name": "Ada"})
        session = self.client.post("/auth/login", json=who).json()
        self.client.headers["Authorization"] = f"Bearer {session['access_token']}"
        self.lattice_id = self._lattice()

    @task(2)
    def whoami(self) -> None:
        self.client.get("/auth/whoami")

    @task(2)
    def create_lattice(self) -> None:
        self.lattice_id = self._lattice()

    @task(4)
    def find_path(self) -> None:
        self.client.post(
            f"/v1/lattices/{self.lattice_id}:findPath",
            json=_CORNERS,
            name="/v1/lattices/{lattice_id}:findPath",
        )

    @task(4)
    def append(self) -> None:
        event = {"stream": "load-1", "type": "worked", "json": {"by": "Ada"}}
        self.client.post("/v1/events:append", json={"events": [event]})

    @task(2)
    def read(self) -> None:
        self.client.get("/v1/events?limit=20")

    @task(1)
    def usage(self) -> None:
        self.client.get("/v1/usage")

    def _lattice(self) -> str:
        made: dict[str, Any] = self.client.post(
            "/v1/lattices", json={"dimensions": 2, "size": 20}
        ).json()
        lattice_id: str = made["latticeId"]
        return lattice_id
