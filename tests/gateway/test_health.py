"""What the gateway says of itself and of what is behind it."""

import asyncio

import httpx
import pytest

from services.plumbing.tasks import OwnedTasks
from tests.casing import odd_keys
from tests.events.serving import eventually
from tests.gateway.sample import Gateway, SampleService, gateway_before


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/health/database"])
async def test_all_is_well(path: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(path)).status_code == 200


async def test_health_names_every_part(client: httpx.AsyncClient) -> None:
    async def is_well() -> bool:
        return (await client.get("/health")).status_code == 200

    await eventually(is_well, within_s=30)  # a slow machine may take one probe for failed
    report = (await client.get("/health")).json()

    assert odd_keys(report) == set()
    assert report["status"] == "SERVING"
    assert report["parts"]["events"]["status"] == "SERVING"


async def test_a_service_that_does_not_serve_makes_the_gateway_not_ready(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    gateway.backend.health.enter_drain()

    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health")).status_code == 503
    assert (await client.get("/health")).json()["parts"]["events"]["status"] == "NOT_SERVING"
    ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert odd_keys(ready.json()) == set()
    assert ready.json()["error"]["code"] == "UNAVAILABLE"
    assert ready.json()["error"]["message"] == "not ready: events is NOT_SERVING"


async def test_a_service_that_is_away_makes_the_gateway_not_ready(service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_EVENTS_ADDRESS": "127.0.0.1:1"}) as gateway:
        report = await gateway.client.get("/health")
        database = await gateway.client.get("/health/database")

    assert report.status_code == 503
    assert report.json()["parts"]["events"]["status"] == "UNREACHABLE"
    assert database.status_code == 503
    assert database.json()["error"]["code"] == "UNAVAILABLE"


async def test_a_draining_gateway_is_not_ready(gateway: Gateway, client: httpx.AsyncClient) -> None:
    gateway.lifecycle.is_draining = True

    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health")).json()["status"] == "DRAINING"


async def test_of_the_database_nobody_is_told_more_than_that_it_is_there(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    there = await client.get("/health/database")
    gateway.service.is_database_reachable = False

    answer = await client.get("/health/database")

    assert there.json() == {"reachable": True}
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["database"] == {"reachable": False}


async def test_no_service_is_asked_how_it_is_once_its_channel_is_closed(
    service: SampleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written down between the two takes its time while the event store is away."""
    at_work = set[str]()
    stop = OwnedTasks.stop

    async def noting(tasks: OwnedTasks) -> None:
        at_work.update(task.get_name() for task in asyncio.all_tasks())
        await stop(tasks)

    monkeypatch.setattr(OwnedTasks, "stop", noting)
    async with gateway_before(service):
        pass

    assert "streams" in at_work
    assert "pulse" not in at_work


async def test_many_who_ask_for_the_database_ask_it_once(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(client.get("/health/database") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert gateway.service.database_asked_count < 10


async def test_requests_are_counted_by_route_template(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    for path in ["/v1/numbers/1", "/v1/numbers/2", "/v1/numbers/x", "/nope", "/nope2"]:
        await client.get(path)
    await client.request("BREW", "/nope")

    counted = {
        tuple(sample.labels.values()): sample.value
        for family in gateway.registry.collect()
        for sample in family.samples
        if sample.name == "http_requests_total"
    }
    assert counted == {
        ("GET", "/v1/numbers/{long_number}", "200"): 2,
        ("GET", "/v1/numbers/{long_number}", "400"): 1,
        ("GET", "(none)", "404"): 2,
        ("OTHER", "(none)", "404"): 1,
    }
    assert gateway.application.metrics.in_flight_count == 0
