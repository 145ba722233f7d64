"""Health, as orchestrators and clients see it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.plumbing.grpc.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from services.plumbing.tasks import OwnedTasks
from tests.plumbing.conftest import Log, MakeSettings, Served, serving, until
from tests.plumbing.knots import SERVICE, Knots

KNOTS = SERVICE.full_name


class Dependency:
    """Something that can be away."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.hangs = False
        self.probed = asyncio.Condition()

    async def probe(self) -> None:
        async with self.probed:
            self.probed.notify_all()
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem is not None:
            raise self.problem


@pytest.fixture
async def dependency(served: Served) -> Dependency:
    dependency = Dependency()
    served.server.health.watch("database", dependency.probe, interval_s=0.01, timeout_s=0.05)
    return dependency


async def check(served: Served, service: str = KNOTS) -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    status: int = response.status
    return status


async def becomes(served: Served, status: int, service: str = KNOTS) -> None:
    await until(lambda: served.server.health.status(service) == status)
    assert await check(served, service) == status


async def watch(served: Served, service: str = KNOTS) -> AsyncIterator[int]:
    stub = health_pb2_grpc.HealthStub(served.channel)
    async for response in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
        yield response.status


async def test_a_service_without_dependencies_serves(served: Served) -> None:
    assert await check(served) == SERVING
    assert await check(served, "") == SERVING


async def test_check_says_not_found_for_a_service_that_is_not_here(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(served, "girih.other.v1.OtherService")

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watch_says_unknown_for_a_service_that_is_not_here(served: Served) -> None:
    assert await anext(watch(served, "girih.other.v1.OtherService")) == SERVICE_UNKNOWN


async def test_list_tells_every_service(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)

    response = await stub.List(health_pb2.HealthListRequest())

    assert {name: result.status for name, result in response.statuses.items()} == {
        "": SERVING,
        KNOTS: SERVING,
        "grpc.health.v1.Health": SERVING,
        "grpc.reflection.v1.ServerReflection": SERVING,
        "grpc.reflection.v1alpha.ServerReflection": SERVING,
        "liveness": SERVING,
    }


async def test_a_process_lives_whatever_is_down_and_while_it_drains(served: Served) -> None:
    served.server.health.enter_drain()

    assert await check(served) == NOT_SERVING
    assert await check(served, "liveness") == SERVING


async def test_what_needs_nothing_serves_while_the_rest_does_not(served: Served) -> None:
    dependency = Dependency()
    dependency.hangs = True
    served.server.health.watch("database", dependency.probe, timeout_s=20)
    served.server.health.add_service("girih.ops.v1.MetricsService", needs_nothing=True)

    assert await check(served) == NOT_SERVING
    assert await check(served, "girih.ops.v1.MetricsService") == SERVING


async def test_nothing_serves_before_its_dependency_answered_once(served: Served) -> None:
    dependency = Dependency()
    dependency.hangs = True

    served.server.health.watch("database", dependency.probe, timeout_s=20)

    assert await check(served) == NOT_SERVING
    assert await check(served, "") == NOT_SERVING


async def test_a_service_goes_and_comes_back_with_its_dependency(
    served: Served, dependency: Dependency, log: Log
) -> None:
    await becomes(served, SERVING)

    dependency.problem = ConnectionRefusedError("nobody listens")
    await becomes(served, NOT_SERVING)
    dependency.problem = None
    await becomes(served, SERVING)

    problems = [line["problem"] for line in log.lines("dependency is down")]
    assert problems == ["not probed yet", "ConnectionRefusedError: nobody listens"]
    assert len(log.lines("dependency is up")) == 2


async def test_a_probe_that_hangs_has_failed(served: Served, dependency: Dependency) -> None:
    await becomes(served, SERVING)

    dependency.hangs = True

    await becomes(served, NOT_SERVING)


async def test_only_services_that_need_a_dependency_go_with_it(served: Served) -> None:
    dependency = Dependency()
    dependency.problem = OSError("away")

    served.server.health.watch("disk", dependency.probe, services=[KNOTS])

    assert await check(served) == NOT_SERVING
    assert await check(served, "") == SERVING


async def test_watch_tells_every_change(served: Served, dependency: Dependency) -> None:
    await becomes(served, SERVING)
    statuses = watch(served)
    assert await anext(statuses) == SERVING

    dependency.problem = OSError("away")
    assert await anext(statuses) == NOT_SERVING
    dependency.problem = None
    assert await anext(statuses) == SERVING


async def test_draining_is_for_good_and_ends_the_watchers(served: Served) -> None:
    statuses = watch(served)
    assert await anext(statuses) == SERVING

    served.server.health.enter_drain()

    assert [status async for status in statuses] == [NOT_SERVING]
    served.server.health.report("database", "away")
    served.server.health.report("database", None)
    assert await check(served) == NOT_SERVING


async def test_a_drain_while_a_status_is_told_is_told_too() -> None:
    health = Health(OwnedTasks())
    changes = health.changes("")
    assert await anext(changes) == SERVING  # and it is not asked for more yet

    health.enter_drain()

    assert [status async for status in changes] == [NOT_SERVING]


async def test_watchers_are_bounded_and_their_places_come_free(
    make_settings: MakeSettings, log: Log
) -> None:
    settings = make_settings(health_watch_count_max=1)
    async with serving(settings, Knots()) as served:
        first = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await first.read()).status == SERVING

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(watch(served))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        first.cancel()
        await until(lambda: served.server.health.watch_count == 0)
        assert await anext(watch(served)) == SERVING


async def test_health_needs_no_token_in_production(make_settings: MakeSettings, log: Log) -> None:
    async with serving(make_settings(environment="production"), Knots()) as served:
        assert await check(served) == SERVING


async def test_healthy_calls_are_quiet(served: Served, log: Log) -> None:
    await check(served)

    assert [line["level"] for line in log.lines("call")] == ["debug"]


async def test_a_probe_that_raises_anything_has_failed(log: Log) -> None:
    async def probe() -> Any:
        raise ZeroDivisionError

    tasks = OwnedTasks()
    health = Health(tasks)
    health.watch("oddity", probe, interval_s=0.001)
    await until(lambda: health.status("") == NOT_SERVING)

    assert tasks.failure is None
    await tasks.stop()
