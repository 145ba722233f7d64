"""PostgreSQL goes and comes back: everything says so, nothing hangs, nothing is restarted."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from cli.local.postgres import EmbeddedPostgres
from tests.asking import served
from tests.processes import System, is_serving

pytestmark = pytest.mark.e2e

NOTICED_WITHIN_S = 60.0


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


@pytest.fixture
def outage(
    postgres_and_system: tuple[EmbeddedPostgres, System],
) -> Iterator[tuple[System, EmbeddedPostgres]]:
    """The system while its PostgreSQL is stopped. It runs again afterwards."""
    postgres, system = postgres_and_system
    postgres.stop()
    try:
        yield system, postgres
    finally:
        postgres.start()
        eventually(lambda: is_serving(system.lattice_address), "lattice serves again")


def test_health_follows_the_database_without_a_restart(
    outage: tuple[System, EmbeddedPostgres],
) -> None:
    system, postgres = outage
    pids = [process.pid for process in system.processes]

    def ready() -> int:
        return httpx.get(f"{system.url}/health/ready", timeout=30).status_code

    eventually(lambda: not is_serving(system.events_address), "events says NOT_SERVING")
    eventually(lambda: not is_serving(system.lattice_address), "lattice says NOT_SERVING")
    eventually(lambda: ready() == 503, "the gateway is not ready")
    assert httpx.get(f"{system.url}/health/live", timeout=30).status_code == 200

    postgres.start()

    eventually(lambda: is_serving(system.events_address), "events serves again")
    eventually(lambda: is_serving(system.lattice_address), "lattice serves again")
    eventually(lambda: ready() == 200, "the gateway is ready again")
    assert [process.pid for process in system.processes] == pids
    assert all(process.is_running for process in system.processes)


def test_no_call_hangs_while_the_database_is_gone(
    outage: tuple[System, EmbeddedPostgres],
) -> None:
    system, _ = outage
    event = {"stream": "outage", "type": "tried", "id": "01890000-0000-7000-8000-000000000001"}

    for method, path, body in (
        ("POST", "/v1/events:append", {"events": [event]}),
        ("GET", "/v1/events", None),
        ("GET", "/v1/streams/outage", None),
        ("POST", "/v1/lattices", {"shape": [3, 3]}),
    ):
        headers = system.authority.headers("outage")
        reply = httpx.request(method, f"{system.url}{path}", json=body, headers=headers, timeout=30)

        assert reply.status_code == 503, (path, reply.text)
        assert reply.json()["error"]["code"] == "UNAVAILABLE"
        assert "Retry-After" in reply.headers


def test_projections_go_on_by_themselves_when_the_database_and_the_log_are_back(
    outage: tuple[System, EmbeddedPostgres],
) -> None:
    system, postgres = outage
    pid = system.projections.pid
    postgres.start()
    await_projected(system)

    postgres.stop()
    system.events.kill()
    eventually(lambda: not is_serving(system.projections_address), "projections say NOT_SERVING")
    postgres.start()
    system.events.start()
    system.events.wait_ready()

    await_projected(system)
    assert system.projections.is_running
    assert system.projections.pid == pid


def await_projected(system: System) -> None:
    """Wait until a projection has come as far as an event that is appended now."""
    event = {"stream": "outage-projected", "type": "tried"}
    headers = system.authority.headers("projected")
    with httpx.Client(base_url=system.url, headers=headers, timeout=90) as http:
        eventually(lambda: http.get("/health/ready").status_code == 200, "the gateway is ready")
        placed = http.post("/v1/events:append", json={"events": [event]}).raise_for_status().json()
        asked = {"position": placed["placements"][0]["position"], "timeoutS": "60"}
        reply = served(lambda: http.get("/v1/projections/event_types:wait", params=asked))
        assert reply.raise_for_status().json()["reached"]
