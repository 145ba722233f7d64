"""The whole road: REST in, both services, the log, and back."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.asking import patient_client
from tests.deploy.queries import SEVERAL_PROCESSES, all_queries
from tests.processes import Process, System

pytestmark = pytest.mark.e2e


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid4().hex[:12]}"


@pytest.fixture
def client(system: System, tenant: str) -> Iterator[httpx.Client]:
    with patient_client(system.url, system.authority.headers(tenant)) as client:
        yield client


def lines_about(process: Process, correlation_id: str) -> list[dict[str, Any]]:
    """What a process has logged about a call. Its log is written a moment after its answer."""
    deadline = time.monotonic() + 60
    while True:
        written, _, _ = process.log.read_text().rpartition("\n")
        lines = [json.loads(line) for line in written.splitlines()]
        about = [line for line in lines if line.get("correlation_id") == correlation_id]
        if about or time.monotonic() > deadline:
            return about
        time.sleep(0.02)


def read_events(client: httpx.Client) -> list[dict[str, Any]]:
    reply = client.get("/v1/events")
    assert reply.status_code == 200
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_lattice_is_created_searched_listed_and_deleted(client: httpx.Client) -> None:
    created = client.post("/v1/lattices", json={"dimensions": 3, "size": 10})
    assert created.status_code == 201, created.text
    lattice = created.json()
    assert (lattice["vertices"], lattice["edges"]) == ("1000", "2700")
    lattice_id = lattice["latticeId"]

    result = client.post(
        f"/v1/lattices/{lattice_id}:findPath",
        json={"start": {"coordinates": [0, 0, 0]}, "goal": {"coordinates": [9, 9, 9]}},
    ).json()
    assert (result["path"]["length"], result["path"]["steps"]) == (27.0, "27")
    assert result["computation"]["method"] == "METHOD_CLOSED_FORM"

    listed = client.get("/v1/lattices").json()["lattices"]
    assert [item["latticeId"] for item in listed] == [lattice_id]

    assert client.delete(f"/v1/lattices/{lattice_id}").status_code == 200
    assert client.get(f"/v1/lattices/{lattice_id}").status_code == 404
    assert [event["event"]["type"] for event in read_events(client)] == [
        *("lattice.created", "lattice.created"),
        *("lattice.deleted", "lattice.deleted"),
    ]


def test_one_correlation_id_is_in_every_hop_and_in_the_events(
    client: httpx.Client, system: System
) -> None:
    correlation_id = f"trace-{uuid4().hex}"

    created = client.post(
        "/v1/lattices",
        json={"shape": [4, 4]},
        headers={"X-Correlation-ID": correlation_id},
    )

    assert created.headers["X-Correlation-ID"] == correlation_id
    for process in (system.events, system.lattice, system.gateway):
        assert lines_about(process, correlation_id), f"not in {process.log.name}"
    contexts = {event["context"]["correlationId"] for event in read_events(client)}
    assert contexts == {correlation_id}


def test_an_error_carries_the_correlation_id_in_header_and_body(client: httpx.Client) -> None:
    correlation_id = f"trace-{uuid4().hex}"

    reply = client.get(f"/v1/lattices/{uuid4()}", headers={"X-Correlation-ID": correlation_id})

    assert reply.status_code == 404
    assert reply.headers["X-Correlation-ID"] == correlation_id
    assert reply.json()["error"]["correlation_id"] == correlation_id
    assert reply.json()["error"]["code"] == "NOT_FOUND"


def test_an_ill_formed_correlation_id_is_replaced_and_the_log_says_so(
    client: httpx.Client, system: System
) -> None:
    reply = client.get("/v1/log", headers={"X-Correlation-ID": "not well formed!"})

    fresh = reply.headers["X-Correlation-ID"]
    assert fresh != "not well formed!"
    about = lines_about(system.gateway, fresh)
    assert [line.get("replaced_correlation_id") for line in about] == ["not well formed!"]


@pytest.mark.parametrize("name", ["X-Tenant-ID", "Grpc-Metadata-X-Tenant-ID"])
def test_a_header_chooses_no_tenant(client: httpx.Client, system: System, name: str) -> None:
    created = client.post("/v1/lattices", json={"shape": [4, 4]}).json()

    claimed = client.get("/v1/lattices", headers={name: "stranger"})

    assert [one["latticeId"] for one in claimed.json()["lattices"]] == [created["latticeId"]]


def test_tenants_do_not_see_each_other(client: httpx.Client, system: System) -> None:
    created = client.post("/v1/lattices", json={"shape": [4, 4]}).json()

    client.headers.update(system.authority.headers("stranger"))

    assert client.get(f"/v1/lattices/{created['latticeId']}").status_code == 404
    assert client.get("/v1/lattices").json()["lattices"] == []
    assert read_events(client) == []


EVENT = {"stream": "s", "type": "t"}
BITS = {"shape": [3, 3], "bitOrder": "BIT_ORDER_LITTLE"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/events:append", {"events": []}, "events"),
        ("/v1/events:append", {"events": [EVENT | {"id": "x"}]}, "events[0].id"),
        ("/v1/events:append", {"events": [EVENT | {"stream": "s" * 10**6}]}, "events[0].stream"),
        ("/v1/events:append", {"events": [EVENT | {"json": {"a": "\0"}}]}, "events[0].json"),
        ("/v1/lattices", {"shape": [0]}, "shape"),
        ("/v1/lattices", {"shape": [2] * 11}, "shape"),
        ("/v1/lattices", {"shape": [2**32, 2**32]}, "shape"),
        ("/v1/lattices", BITS | {"blocked": "AA=="}, "blocked"),
    ],
)
def test_a_bad_value_is_400_and_names_its_field(
    client: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    reply = client.post(path, json=body)

    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "INVALID_ARGUMENT"
    fields = [violation["field"] for violation in reply.json()["error"]["details"]["violations"]]
    assert any(named.startswith(field) for named in fields), fields
    assert read_events(client) == []


def test_alerts_and_dashboards_ask_for_what_a_running_girih_tells(
    client: httpx.Client, system: System
) -> None:
    client.post("/v1/lattices", json={"shape": [4, 4]})

    exported = {name for process in system.processes for name in exported_samples(process)}
    asked = {name for query in all_queries() for name in query.metrics}
    assert asked - exported - SEVERAL_PROCESSES - {"up"} == set()


def exported_samples(process: Process) -> Iterator[str]:
    """The names of all that a process tells Prometheus, also of what it has not counted yet."""
    (port,) = [value for name, value in process.environ.items() if name.endswith("METRICS_PORT")]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
    for family in text_string_to_metric_families(text):
        ends = _ENDS.get(family.type, ("",))
        yield from (family.name + end for end in ends)


_ENDS = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
