"""Services that get more calls than they can answer: who is refused, and that they are there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack

import grpc.aio
import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from structlog.testing import capture_logs

from gateway.app import read_contract
from gateway.backends.backlog import Backlog
from gateway.backends.local import LocalBackend
from gateway.backends.remote import RemoteBackend, open_backends
from gateway.composition import ACCOUNT_SERVICE
from gateway.http.errors import HttpError
from gateway.http.lifecycle import Lifecycle
from gateway.site.health import (
    NOT_SERVING,
    SERVING,
    UNREACHABLE,
    Health,
    HealthMonitor,
    HealthPages,
    ServiceHealth,
)
from girih.lattice.v1 import fields_pb2, jobs_pb2, paths_pb2
from services.plumbing.metrics import ClientMetrics
from tests.gateway.sample import Gateway, sample_contract

TAKEN = 10


@pytest.fixture
def backlog() -> Backlog:
    """Of a service that has answered a call each tenth of a second of late."""
    made = Backlog(2.0, sent_count=TAKEN)
    slow_down(made, 0.1)
    return made


def slow_down(backlog: Backlog, seconds_each: float) -> None:
    backlog._pace._busy_s, backlog._pace._done_count = seconds_each, 1.0


def sent(backlog: Backlog, tenants: list[str], calls: ExitStack | None = None) -> list[str]:
    """Those of whom one more call is sent, in order; it is under way until `calls` end."""
    result = []
    for tenant in tenants:
        try:
            (calls or ExitStack()).enter_context(backlog.sent(tenant))
        except HttpError:
            continue
        result.append(tenant)
    return result


def test_calls_are_refused_that_would_wait_for_too_long(backlog: Backlog) -> None:
    tenants = [f"tenant-{number}" for number in range(50)]

    assert len(sent(backlog, tenants)) == 20
    with pytest.raises(HttpError) as refused:
        backlog.sent("one more")
    assert refused.value.status == 503
    assert refused.value.details == {"reason": "GATEWAY_BUSY", "retryAfterS": pytest.approx(2.1)}


def test_a_tenant_with_many_calls_is_refused_before_others(backlog: Backlog) -> None:
    assert len(sent(backlog, ["greedy"] * 50)) == 20

    assert sent(backlog, ["other", "greedy", "third", "other"]) == ["other", "third", "other"]


def test_who_has_many_calls_waits_for_no_more_than_there_are(backlog: Backlog) -> None:
    """As those have together who are nobody yet: who logs in has no tenant."""
    with ExitStack() as calls:
        sent(backlog, [f"tenant-{number}" for number in range(8)], calls)

        assert len(sent(backlog, [""] * 50, calls)) == 12


def test_a_few_calls_are_sent_however_long_they_take(backlog: Backlog) -> None:
    slow_down(backlog, 10.0)

    assert len(sent(backlog, ["a"] * 50)) == TAKEN


def test_what_is_over_makes_room(backlog: Backlog) -> None:
    with ExitStack() as calls:
        assert len(sent(backlog, ["a"] * 20, calls)) == 20
        assert sent(backlog, ["a"]) == []

    assert sent(backlog, ["a"]) == ["a"]
    assert backlog._by_tenant == {"a": 1}


def test_of_calls_that_are_served_here_few_are_taken_on_while_they_take_long() -> None:
    local = LocalBackend("sample", sample_contract().services[0], object())
    assert local.backlog is not None
    slow_down(local.backlog, 10.0)

    assert len(sent(local.backlog, [""] * 50)) == 20
    assert sent(local.backlog, ["acme"]) == []
    slow_down(local.backlog, 1.0)
    assert sent(local.backlog, ["", "acme"]) == ["acme"]


async def test_calls_of_all_services_of_a_process_wait_for_each_other(
    gateway: Gateway,
) -> None:
    metrics = ClientMetrics(CollectorRegistry())
    async with open_backends(
        read_contract(), gateway.settings, [ACCOUNT_SERVICE], metrics
    ) as opened:
        backlogs = [backend.backlog for backend in opened if backend.label == "events"]

    assert len(backlogs) > 1
    assert backlogs[0] is not None
    assert all(backlog is backlogs[0] for backlog in backlogs)


async def test_who_is_refused_is_told_when_to_come_back(gateway: Gateway) -> None:
    match = gateway.application.routes.find("/v1/echo")
    backlog = match.targets["POST"]._backend.backlog  # type: ignore[union-attr] # it is there
    slow_down(backlog, 0.1)
    with ExitStack() as calls:
        sent(backlog, [f"tenant-{number}" for number in range(100)], calls)
        refused = await gateway.client.post("/v1/echo")

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 5
    assert (await gateway.client.post("/v1/echo")).status_code == 201


async def test_a_service_that_answers_calls_is_there_though_it_is_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with grpc.aio.insecure_channel(address) as channel:
            backend = RemoteBackend(sample_contract().services[0], channel, channel, 2.0)
            health = Health([backend], Lifecycle(), timeout_s=0.5)

            unheard = await health.parts()
            looking = asyncio.ensure_future(health.parts())
            while not looking.done():
                backend.answered_count += 1
                await asyncio.sleep(0.01)

    assert [part.status for part in (*unheard, *await looking)] == [UNREACHABLE, SERVING]


@pytest.fixture
async def services() -> AsyncIterator[list[RemoteBackend]]:
    """Three services of one process, which is not there."""
    files = (fields_pb2, jobs_pb2, paths_pb2)
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        yield [
            RemoteBackend(service, channel, channel, 2.0)
            for file in files
            for service in file.DESCRIPTOR.services_by_name.values()
        ]


class ScriptedHealth(Health):
    """Health as it is told, round by round."""

    def __init__(self, backends: Sequence[RemoteBackend], *rounds: Sequence[str]) -> None:
        super().__init__(backends, Lifecycle(), timeout_s=1.0)
        self._rounds = iter(rounds)
        self._labels = [backend.label for backend in backends]
        self.is_over = asyncio.Event()

    async def parts(self) -> list[ServiceHealth]:
        for statuses in self._rounds:
            parts = zip(self._labels, statuses, strict=True)
            return [ServiceHealth(label, status, 0.0) for label, status in parts]
        self.is_over.set()
        return await asyncio.Future()


class Waiting:
    """A call that nothing has come back from."""

    error: HttpError | None = None

    def end(self, error: HttpError) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("missed_count", "answers", "is_given_up"),
    [(1, True, False), (2, False, False), (3, False, True)],
)
async def test_a_process_of_several_services_may_be_late_once(
    missed_count: int,
    answers: bool,
    is_given_up: bool,
    services: list[RemoteBackend],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HealthMonitor, "_INTERVAL_S", 0.0)
    health = ScriptedHealth(services, *[[UNREACHABLE] * len(services)] * missed_count)
    call = Waiting()
    services[-1].pending.add(call)

    with capture_logs() as lines:
        monitoring = asyncio.ensure_future(HealthMonitor(health, services).run())
        await health.is_over.wait()
        monitoring.cancel()

    assert {backend.answers for backend in services} == {answers}
    assert (call.error is not None) == is_given_up
    logged = [line for line in lines if line["event"] == "a service does not answer"]
    assert [line["service"] for line in logged] == ["lattice"] * (not answers)


async def test_a_process_is_told_of_once_and_by_its_worst_part(
    services: list[RemoteBackend],
) -> None:
    each = [UNREACHABLE, *[NOT_SERVING] * (len(services) - 2), SERVING]
    health = ScriptedHealth(services, each, each)
    pages = HealthPages(health, services, str, timeout_s=1.0)
    app = Starlette(routes=pages.routes())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        report = (await client.get("/health")).json()
        ready = (await client.get("/health/ready")).json()

    assert report["parts"]["lattice"]["status"] == UNREACHABLE
    assert ready["error"]["message"] == "not ready: lattice is UNREACHABLE"


async def test_a_process_that_answers_calls_of_one_service_is_there_for_all_of_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with grpc.aio.insecure_channel(address) as channel:
            names = [*fields_pb2.DESCRIPTOR.services_by_name.values()]
            names += jobs_pb2.DESCRIPTOR.services_by_name.values()
            backends = [RemoteBackend(service, channel, channel, 2.0) for service in names]
            health = Health(backends, Lifecycle(), timeout_s=0.5)

            looking = asyncio.ensure_future(health.parts())
            while not looking.done():
                backends[0].answered_count += 1
                await asyncio.sleep(0.01)

    assert {part.status for part in await looking} == {SERVING}
