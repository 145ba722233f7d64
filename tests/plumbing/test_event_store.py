"""Whether the event store is worth waiting for, by what it tells of itself and what it answers."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.plumbing.grpc.event_store import EventsNotServing, EventStoreHealth

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class StatedHealth(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """What it is told to say, once it may."""

    def __init__(self) -> None:
        self.status = SERVING
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> health_pb2.HealthCheckResponse:
        await self.may_answer.wait()
        return health_pb2.HealthCheckResponse(status=self.status)


class Clock:
    """A time that only goes on when it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def stated() -> StatedHealth:
    return StatedHealth()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(stated: StatedHealth) -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(stated, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def health(
    server: tuple[grpc.aio.Server, str], clock: Clock
) -> AsyncIterator[EventStoreHealth]:
    async with grpc.aio.insecure_channel(server[1]) as channel:
        yield EventStoreHealth(channel, clock)


async def late_probe(health: EventStoreHealth, stated: StatedHealth) -> None:
    """One that is given up, as its owner does with what takes too long."""
    stated.may_answer.clear()
    probing = asyncio.create_task(health.probe())
    await asyncio.sleep(0.1)
    probing.cancel()
    await asyncio.wait([probing])
    assert probing.cancelled()


async def test_one_that_serves_is_worth_waiting_for(health: EventStoreHealth) -> None:
    assert not health.is_answering()

    await health.probe()

    assert health.is_serving()
    assert health.is_answering()


async def test_one_that_is_late_to_say_so_is_worth_it_while_it_answers(
    health: EventStoreHealth, stated: StatedHealth, clock: Clock
) -> None:
    await health.probe()
    health.answered()
    await late_probe(health, stated)

    assert not health.is_serving()
    assert health.is_answering()
    clock.now_s = 2.0
    assert not health.is_answering()
    health.answered()
    assert health.is_answering()


async def test_one_that_says_that_it_does_not_serve_is_not_worth_it(
    health: EventStoreHealth, stated: StatedHealth
) -> None:
    health.answered()
    stated.status = NOT_SERVING

    with pytest.raises(EventsNotServing):
        await health.probe()

    assert not health.is_answering()


async def test_one_that_is_gone_is_not_worth_it(
    health: EventStoreHealth, server: tuple[grpc.aio.Server, str]
) -> None:
    health.answered()
    await server[0].stop(None)

    with pytest.raises(grpc.aio.AioRpcError):
        await health.probe()

    assert not health.is_answering()
