"""Traces through a whole girih, as a collector gets them from four processes."""

import re
import urllib.request
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.collector import Collector, collecting
from tests.processes import PATIENT, Process, System, own_postgres, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CANARY = "canary-5f1c"
RPC = "girih.events.v1.EventStoreService/Append"
ROUTE = "POST /v1/events:append"
APPENDED = ("girih-events", RPC), ("girih-gateway", ROUTE)
"""The spans of an append that each process ends last."""


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def traced(collected: Collector) -> Iterator[System]:
    with pytest.MonkeyPatch.context() as environ, own_postgres() as (postgres, folder):
        environ.setenv("GIRIH_OTLP_ENDPOINT", collected.endpoint)
        environ.setenv("GIRIH_TRACE_RATIO", "1")
        with running_system(postgres.url, folder, **PATIENT) as system:
            yield system


@pytest.fixture
def client(traced: System) -> Iterator[httpx.Client]:
    headers = traced.authority.headers(f"tenant-{uuid4().hex[:12]}")
    with httpx.Client(base_url=traced.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def trace_id() -> str:
    return uuid4().hex


def trace_headers(trace_id: str) -> dict[str, str]:
    """What a caller sends whose own span is in the trace."""
    return {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "x-correlation-id": trace_id}


def append(client: httpx.Client, trace_id: str) -> None:
    event = {"stream": "knots", "type": "tied", "json": {"by": CANARY}}
    reply = client.post(
        "/v1/events:append", json={"events": [event]}, headers=trace_headers(trace_id)
    )
    assert reply.is_success, reply.text


def test_an_append_is_one_trace_from_the_gateway_to_the_statement(
    client: httpx.Client, collected: Collector, trace_id: str
) -> None:
    append(client, trace_id)

    spans = collected.trace(trace_id, *APPENDED)
    by_id = {span.span_id: span for span in spans}
    (statement,) = [span for span in spans if span.name == "postgresql append_records"]
    path = [statement]
    while (above := by_id.get(path[-1].parent_id)) is not None:
        path.append(above)
    assert [(span.service, span.kind, span.name) for span in path] == [
        ("girih-events", "client", "postgresql append_records"),
        ("girih-events", "internal", "append a batch"),
        ("girih-events", "server", RPC),
        ("girih-gateway", "client", RPC),
        ("girih-gateway", "server", ROUTE),
    ]
    assert path[-1].parent_id == "b7ad6b7169203331"
    assert path[-1].attributes["girih.correlation_id"] == trace_id


def test_a_lattice_and_the_event_store_behind_it_are_in_one_trace(
    client: httpx.Client, collected: Collector, trace_id: str
) -> None:
    client.post("/v1/lattices", json={"shape": [4, 4]}, headers=trace_headers(trace_id))

    asked = ("girih-lattice", "girih.lattice.v1.LatticeService/CreateLattice")
    ends = ("girih-events", RPC), asked, ("girih-gateway", "POST /v1/lattices")
    spans = collected.trace(trace_id, *ends)
    by_id = {span.span_id: span for span in spans}
    (stored,) = [span for span in spans if (span.name, span.kind) == (RPC, "server")]
    caller = by_id[stored.parent_id]
    served = by_id[caller.parent_id]
    assert (caller.service, caller.kind) == ("girih-lattice", "client")
    assert (served.service, served.name) == asked


def test_whoever_follows_and_what_projects_show_what_they_were_given(
    client: httpx.Client, collected: Collector, trace_id: str
) -> None:
    append(client, uuid4().hex)
    asked = {**trace_headers(trace_id), "accept": "application/x-ndjson"}
    with client.stream("GET", "/v1/events?follow=true", headers=asked) as followed:
        next(followed.iter_lines())

    spans = collected.trace(trace_id, ("girih-events", "deliver to a follower"))
    (delivered,) = [span for span in spans if span.name == "deliver to a follower"]
    # From the window where the projections followed the log before.
    (source,) = delivered.attributes.items()
    assert source in {("girih.events_from_database", 1), ("girih.events_from_window", 1)}
    collected.until(lambda spans: any(span.name == "apply event_types" for span in spans))


def test_lines_of_all_processes_name_the_trace(
    client: httpx.Client, traced: System, collected: Collector, trace_id: str
) -> None:
    append(client, trace_id)
    collected.trace(trace_id, *APPENDED)

    for process in (traced.gateway, traced.events):
        assert f'"trace_id":"{trace_id}"' in process.log.read_text()


def test_a_latency_shows_a_trace_that_it_is_of(
    client: httpx.Client, traced: System, collected: Collector, trace_id: str
) -> None:
    append(client, trace_id)
    collected.trace(trace_id, *APPENDED)

    for process, name in (
        (traced.gateway, "http_request_seconds_bucket"),
        (traced.events, "grpc_server_handling_seconds_bucket"),
    ):
        lines = [line for line in openmetrics(process).splitlines() if line.startswith(name)]
        examples = re.findall(r'# \{[^}]*trace_id="([0-9a-f]{32})"', "\n".join(lines))
        assert trace_id in examples


def test_nobody_traces_whether_processes_are_well_and_nothing_that_was_sent(
    client: httpx.Client, traced: System, collected: Collector, trace_id: str
) -> None:
    client.get("/health")
    client.get("/health/ready")
    append(client, trace_id)
    spans = collected.trace(trace_id, *APPENDED)

    names = {span.name for span in collected.spans}
    assert not [name for name in names if "health" in name.lower() or "Metrics" in name]
    assert CANARY not in str(collected.spans)
    assert client.headers["authorization"].split()[1] not in str(collected.spans)
    assert spans


def openmetrics(process: Process) -> str:
    (port,) = [value for name, value in process.environ.items() if name.endswith("METRICS_PORT")]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.read().decode())
