"""Consumers resume by themselves, with asyncio and without, and never settle what they lost. What
groups do with it is tried in `tests/contract`."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import grpc
import pytest

from girih.client import (
    Client,
    GirihError,
    GroupNotFound,
    GroupSettings,
    LeaseLost,
    NewEvent,
    Park,
    RetryLater,
    RetryPolicy,
    Unavailable,
    current_context,
)
from girih.client.blocking.consuming import BlockingMessage
from girih.client.errors import Refusal
from girih.client.groups.consuming import AsyncMessage
from girih.client.groups.in_flight import InFlight
from girih.client.groups.messages import duration
from girih.events.v1 import groups_pb2 as pb
from girih.testing import MemoryServer

RETRY = RetryPolicy(pause_s_min=0.01, pause_s_max=0.1)


def happened(*streams: str) -> list[NewEvent]:
    return [NewEvent.with_data(stream, "happened", {}) for stream in streams]


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def girih(server: MemoryServer) -> Iterator[Client]:
    with server.client(retry=RETRY) as girih:
        girih.groups.create("g")
        yield girih


async def test_a_consumer_goes_on_when_the_server_was_killed(server: MemoryServer) -> None:
    interrupted: list[GirihError] = []
    positions: list[int] = []

    async with server.async_client(retry=RETRY) as girih:
        await girih.groups.create("g")
        await girih.append(happened("a"))
        async with girih.consume("g", on_interrupted=interrupted.append) as consumer:
            async for message in consumer:
                positions.append(message.event.position)
                await message.ack()
                if len(positions) == 3:
                    break
                server.stop()
                server.start()
                await girih.append(happened("a"))

    assert positions == [1, 2, 3]
    assert len(interrupted) == 2


async def test_a_message_is_tried_again_when_the_clock_of_the_test_says_so() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with MemoryServer(now=lambda: now) as server, server.async_client() as girih:
        await girih.groups.create("g")
        await girih.append(happened("a"))
        async with girih.consume("g") as consumer:
            messages = aiter(consumer)
            await (await anext(messages)).retry(delay=60)
            await girih.append(happened("b"))
            second = await anext(messages)

            now += timedelta(seconds=61)
            await girih.append(happened("c"))
            later = {(await anext(messages)).event.stream for _ in range(2)}

    assert (second.event.stream, later) == ("b", {"a", "c"})


async def test_what_was_given_before_the_connection_broke_acknowledges_nothing(
    server: MemoryServer,
) -> None:
    async with server.async_client(retry=RETRY) as girih:
        await girih.groups.create("g")
        await girih.append(happened("a"))
        async with girih.consume("g") as consumer:
            messages = aiter(consumer)
            before = await anext(messages)
            server.stop()
            server.start()
            again = await anext(messages)

            with pytest.raises(LeaseLost):
                await before.ack()
            await again.ack()

    assert (before.event.position, again.event.position, again.attempt) == (1, 1, 2)


def test_without_asyncio_it_is_the_same(server: MemoryServer, girih: Client) -> None:
    girih.append(happened("a", "b"))
    positions = []

    with girih.consume("g") as consumer:
        for message in islice(consumer, 4):
            positions.append(message.event.position)
            message.ack().result(30)
            if len(positions) == 2:
                server.stop()
                server.start()
                girih.append(happened("a", "b"))

    assert sorted(positions) == [1, 2, 3, 4]


def test_threads_handle_side_by_side(girih: Client) -> None:
    girih.acting(correlation_id="c-1").append(happened("a", "b", "c"))
    meeting = threading.Barrier(3, timeout=30)
    contexts = []
    consumer = girih.consume("g")

    def handle(message: BlockingMessage) -> None:
        meeting.wait()
        contexts.append(current_context().correlation_id)
        if len(contexts) == 3:
            consumer.close()
        if message.event.stream == "b":
            raise Park("no")

    consumer.handle(handle, concurrency=3)

    assert contexts == ["c-1"] * 3
    assert [one.reason for one in girih.groups.parked("g")] == ["no"]
    assert [lane.held_count for lane in girih.groups.get("g").lanes if lane.held_count] == []


class WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError


def cancelled() -> None:
    raise asyncio.CancelledError


def exits() -> None:
    raise SystemExit


def comes_again_too_late() -> None:
    raise RetryLater(delay=1e9)


def parks_an_error() -> None:
    raise Park(ValueError("no"))


def fails_without_words() -> None:
    raise WordlessError


FAILING = [comes_again_too_late, parks_an_error, fails_without_words]


@pytest.mark.parametrize("fail", [*FAILING, exits], ids=lambda fail: fail.__name__)
def test_a_message_is_settled_however_a_handler_of_a_thread_fails(
    girih: Client, fail: Callable[[], None]
) -> None:
    girih.append(happened("a"))
    consumer = girih.consume("g")

    def handle(_message: BlockingMessage) -> None:
        consumer.close()
        fail()

    consumer.handle(handle)

    held = sum(lane.held_count for lane in girih.groups.get("g").lanes)
    assert held + len(list(girih.groups.parked("g"))) == 1


@pytest.mark.parametrize("fail", [*FAILING, cancelled], ids=lambda fail: fail.__name__)
async def test_a_message_is_settled_however_a_handler_fails(
    server: MemoryServer, fail: Callable[[], None]
) -> None:
    async with server.async_client(retry=RETRY) as girih:
        await girih.groups.create("g")
        await girih.append(happened("a"))
        consumer = girih.consume("g")

        async def handle(_message: AsyncMessage) -> None:
            consumer.close()
            fail()

        await consumer.handle(handle)

        held = sum(lane.held_count for lane in (await girih.groups.get("g")).lanes)
        assert held + len([one async for one in girih.groups.parked("g")]) == 1


def test_another_thread_ends_a_loop_that_waits(girih: Client) -> None:
    consumer = girih.consume("g")
    looping = threading.Thread(target=list, args=(consumer,))
    looping.start()
    while not girih.groups.get("g").consumers:
        time.sleep(0.01)

    consumer.close()
    looping.join(30)

    assert not looping.is_alive()
    assert girih.groups.get("g").consumers == ()


def test_what_was_said_is_durable_when_the_block_is_left(girih: Client) -> None:
    girih.append(happened("a", "b", "c"))

    with girih.consume("g") as consumer:
        messages = iter(consumer)
        for message in islice(messages, 2):
            message.ack()
        messages.close()

    with girih.consume("g") as consumer:
        assert next(iter(consumer)).event.position == 3


def test_a_block_that_is_left_has_left_the_group_whoever_keeps_the_iterator(
    girih: Client,
) -> None:
    girih.append(happened("a"))

    with girih.consume("g") as consumer:
        kept = iter(consumer)
        next(kept).ack()

    assert girih.groups.get("g").consumers == ()
    assert list(kept) == []


@pytest.mark.parametrize("delay", [-1.0, 1e9, float("nan")])
def test_a_delay_that_makes_no_sense_is_refused_and_leaves_the_message(
    in_flight: InFlight[Any], delay: float
) -> None:
    (message,) = in_flight.take(delivery(1))

    with pytest.raises(ValueError, match="delay"):
        message.retry(delay)

    assert message.is_held


def test_a_group_that_is_not_there_is_told(girih: Client) -> None:
    with pytest.raises(GroupNotFound), girih.consume("none") as consumer:
        next(iter(consumer))


def test_a_group_that_is_deleted_ends_its_consumers(girih: Client) -> None:
    girih.append(happened("a"))
    with girih.consume("g") as consumer:
        messages = iter(consumer)
        next(messages).ack()

        girih.groups.delete("g")

        with pytest.raises(GroupNotFound):
            next(messages)


async def test_a_loop_that_stood_still_beyond_its_lease_is_not_believed(
    server: MemoryServer,
) -> None:
    async with server.async_client(retry=RETRY) as girih:
        await girih.groups.create("g", GroupSettings(lease_s=1.0))
        await girih.append(happened("a", "b"))
        async with girih.consume("g") as consumer:
            messages = aiter(consumer)
            first = await anext(messages)

            time.sleep(1.5)  # noqa: ASYNC251 - as a process that is paused

            with pytest.raises(GirihError):
                await first.ack()
            again = {(await anext(messages)).event.position for _ in range(2)}

    assert again == {1, 2}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def delivery(position: int, token: int = 1) -> pb.ConsumeResponse:
    response = pb.ConsumeResponse()
    one = response.deliveries.deliveries.add(lane=0, token=token, attempt=1)
    one.event.position = position
    return response


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def in_flight(clock: Clock) -> InFlight[Future[None]]:
    """Of a call that has begun, with a lease of 9 s."""
    start = pb.ConsumerStart(group="g", credits=5)
    made: InFlight[Future[None]] = InFlight(
        start, new_outcome=Future, wake=lambda: None, clock=clock
    )
    made.begin()
    made.take(pb.ConsumeResponse(started=pb.ConsumerStarted(lease=duration(9))))
    return made


def kinds(requests: list[pb.ConsumeRequest]) -> list[str | None]:
    return [request.WhichOneof("request") for request in requests]


def test_nothing_is_begun_before_the_service_has_said_that_the_lanes_are_held(
    in_flight: InFlight[Any], clock: Clock
) -> None:
    (sign,) = in_flight.requests()
    certain = [in_flight.is_certain()]

    clock.now_s += 2.0
    answer = pb.ServiceAlive(number=sign.alive.number, valid=duration(5))
    in_flight.take(pb.ConsumeResponse(alive=answer))
    certain.append(in_flight.is_certain())
    # Counted from when the sign was sent.
    clock.now_s += 3.1
    certain.append(in_flight.is_certain())

    assert certain == [False, True, False]


def test_it_lets_itself_be_heard_within_each_half_of_the_lease(
    in_flight: InFlight[Any], clock: Clock
) -> None:
    assert kinds(in_flight.requests()) == ["alive"]
    assert in_flight.requests() == []
    assert in_flight.due_in_s() == pytest.approx(3.0)

    clock.now_s += 3.0

    assert kinds(in_flight.requests()) == ["alive"]


def test_it_says_at_once_that_it_has_heard_which_lanes_it_has(in_flight: InFlight[Any]) -> None:
    in_flight.requests()
    in_flight.take(pb.ConsumeResponse(lanes=pb.LanesHeld(lanes=[pb.HeldLane(lane=1, token=1)])))
    in_flight.take(pb.ConsumeResponse(lanes=pb.LanesHeld()))
    due_s = in_flight.due_in_s()
    (sign,) = in_flight.requests()

    assert due_s == 0.0
    assert sign.alive.lanes_seen == 2
    assert in_flight.requests() == []


def test_acknowledgements_of_a_lane_are_sent_together(in_flight: InFlight[Any]) -> None:
    in_flight.requests()
    for position in (1, 2, 3):
        (message,) = in_flight.take(delivery(position))
        message.ack()

    (request,) = in_flight.requests()

    assert list(request.acknowledge.positions) == [1, 2, 3]
    assert (request.acknowledge.lane, request.acknowledge.token) == (0, 1)


def test_nothing_is_said_of_a_lane_that_was_taken_away(in_flight: InFlight[Any]) -> None:
    in_flight.requests()
    (message,) = in_flight.take(delivery(1))

    lanes = pb.LanesHeld(lanes=[pb.HeldLane(lane=0, token=2)])
    in_flight.take(pb.ConsumeResponse(lanes=lanes))

    with pytest.raises(LeaseLost):
        message.ack().result(0)
    assert kinds(in_flight.requests()) == ["alive"]


def test_what_is_not_durable_when_a_call_ends_is_told(in_flight: InFlight[Any]) -> None:
    (message,) = in_flight.take(delivery(1))
    outcome = message.ack()

    refusal = Refusal(code=grpc.StatusCode.UNAVAILABLE, message="away")
    in_flight.end(Unavailable(refusal))

    with pytest.raises(Unavailable):
        outcome.result(0)


async def test_nobody_hears_of_an_outcome_that_nobody_waits_for(
    server: MemoryServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.async_client(retry=RETRY) as girih:
        await girih.groups.create("g")
        await girih.append(happened("a"))
        async with girih.consume("g") as consumer:
            message = await anext(aiter(consumer))
            await message.ack()
            message.ack()
            await asyncio.sleep(0)

    assert "never retrieved" not in caplog.text
