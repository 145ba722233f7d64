"""What consumer groups add to following: delivery latency beside a follower, throughput by lanes.

    python -m bench.groups [--seconds 10] [--events 5000]

Latency is from an append's acknowledgement to the handler's call, in the process that does both, at
100 and at 1,000 events a second to 1,000 streams, of a follower and of a group of one consumer.
Throughput is that of one consumer with 1,000 credits for each lane, which handle nothing, of events
that are there already.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import grpc.aio

from bench.serving import Service, event, events_service, run
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import groups_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from tests.acceptance.measures import quantile

RATES = (100, 1_000)
LANES = (1, 2, 4)
ALIVE_S = 2.0
_STREAMS = 1_000
_TICK_S = 0.01
_BATCH = 500

Handle = Callable[[int], None]
"""Is called with the position of each event."""


async def main(duration_s: float, event_count: int) -> int:
    async with events_service() as service:
        for rate in RATES:
            for name, receive in (("follower", follow), ("group", consume_one)):
                latencies = await measure(service, receive, rate, duration_s)
                p50, p99 = (1e3 * quantile(latencies, share) for share in (0.5, 0.99))
                print(
                    f"{name} at {rate:,} events/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                    f" from acknowledged to handled ({len(latencies):,} events)",
                    flush=True,
                )
        rates = {lanes: await throughput(service, lanes, event_count) for lanes in LANES}
        for lanes, events_per_s in rates.items():
            print(f"{lanes} lanes, as many consumers: {events_per_s:,.0f} events/s", flush=True)
    return 0


async def measure(
    service: Service,
    receive: Callable[[Service, Handle], Awaitable[None]],
    rate: int,
    duration_s: float,
) -> Sequence[float]:
    """Seconds from the acknowledgement of each append to its handler."""
    events = EventStoreServiceStub(service.channel)
    acknowledged_s: dict[int, float] = {}
    handled_s: dict[int, float] = {}

    def handle(position: int) -> None:
        handled_s[position] = time.perf_counter()

    receiving = asyncio.ensure_future(receive(service, handle))
    # The first events find the receiver on its way.
    await asyncio.sleep(2.0)
    began_s = time.perf_counter()
    sent = 0
    while (elapsed_s := time.perf_counter() - began_s) < duration_s:
        due = int(elapsed_s * rate) - sent
        if due > 0:
            batch = [event(f"s-{(sent + number) % _STREAMS}") for number in range(due)]
            reply = await events.Append(
                pb.AppendRequest(events=batch), metadata=service.caller.metadata
            )
            now_s = time.perf_counter()
            acknowledged_s |= {one.position: now_s for one in reply.placements}
            sent += due
        await asyncio.sleep(_TICK_S)
    with suppress(TimeoutError):
        async with asyncio.timeout(10.0):
            while not acknowledged_s.keys() <= handled_s.keys():  # noqa: ASYNC110 - told by calls
                await asyncio.sleep(_TICK_S)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    # One that is handled before its append is acknowledged did not wait at all.
    return [
        max(0.0, handled_s[position] - at)
        for position, at in acknowledged_s.items()
        if position in handled_s
    ]


async def follow(service: Service, handle: Handle) -> None:
    """As a plain follower."""
    events = EventStoreServiceStub(service.channel)
    log = await events.GetLog(pb.GetLogRequest(), metadata=service.caller.metadata)
    request = pb.ReadRequest(follow=True, from_position=log.head_position + 1)
    async for response in events.Read(request, metadata=service.caller.metadata):
        for one in response.events:
            handle(one.position)


async def consume_one(service: Service, handle: Handle) -> None:
    """As the consumer of a group that begins now."""
    await create(service, "latency", 1, await head(service) + 1)
    async with consumer(service, "latency") as one:
        await take(one, handle)


async def throughput(service: Service, lane_count: int, event_count: int) -> float:
    """Events a second of a group with so many lanes, which has some to catch up with."""
    group = f"lanes-{lane_count}"
    await create(service, group, lane_count, await head(service) + 1)
    events = EventStoreServiceStub(service.channel)
    for first in range(0, event_count, _BATCH):
        batch = [event(f"s-{(first + number) % _STREAMS}") for number in range(_BATCH)]
        await events.Append(pb.AppendRequest(events=batch), metadata=service.caller.metadata)
    handled: set[int] = set()
    is_done = asyncio.Event()

    def handle(position: int) -> None:
        handled.add(position)
        if len(handled) >= event_count:
            is_done.set()

    async def consume() -> None:
        async with consumer(service, group) as one:
            await take(one, handle)

    began_s = time.perf_counter()
    consuming = [asyncio.create_task(consume()) for _ in range(lane_count)]
    done = asyncio.create_task(is_done.wait())
    # A consumer whose call ends handles nothing more.
    await asyncio.wait([done, *consuming], return_when=asyncio.FIRST_COMPLETED)
    took_s = time.perf_counter() - began_s
    ended = [task for task in consuming if task.done()]
    for task in (done, *consuming):
        task.cancel()
    await asyncio.gather(done, *consuming, return_exceptions=True)
    for task in ended:
        task.result()
    return event_count / took_s


async def head(service: Service) -> int:
    events = EventStoreServiceStub(service.channel)
    log = await events.GetLog(pb.GetLogRequest(), metadata=service.caller.metadata)
    return log.head_position


async def create(service: Service, group: str, lane_count: int, position: int) -> None:
    """A group, anew, whose events are those from a position on."""
    groups, metadata = GroupServiceStub(service.channel), service.caller.metadata
    await groups.DeleteGroup(groups_pb2.DeleteGroupRequest(group=group), metadata=metadata)
    await groups.CreateGroup(
        groups_pb2.CreateGroupRequest(
            group=group,
            settings=groups_pb2.GroupSettings(lane_count=lane_count),
            start=groups_pb2.GroupStart(position=position),
        ),
        metadata=metadata,
    )


class Consumer:
    """A call whose messages go out one after the other: gRPC takes one at a time."""

    def __init__(self, service: Service) -> None:
        self.call: grpc.aio.StreamStreamCall[
            groups_pb2.ConsumeRequest, groups_pb2.ConsumeResponse
        ] = GroupServiceStub(service.channel).Consume(metadata=service.caller.metadata)
        self._turn = asyncio.Lock()

    async def send(self, request: groups_pb2.ConsumeRequest) -> None:
        async with self._turn:
            await self.call.write(request)


@asynccontextmanager
async def consumer(service: Service, group: str) -> AsyncIterator[Consumer]:
    """A consumer that says in time that it is alive."""
    one = Consumer(service)
    start = groups_pb2.ConsumerStart(group=group, credits=1_000)
    await one.send(groups_pb2.ConsumeRequest(start=start))

    async def stay_alive() -> None:
        while True:
            await asyncio.sleep(ALIVE_S)
            await one.send(groups_pb2.ConsumeRequest(alive=groups_pb2.ConsumerAlive()))

    signalling = asyncio.create_task(stay_alive())
    try:
        yield one
    finally:
        signalling.cancel()
        one.call.cancel()


async def take(one: Consumer, handle: Handle) -> None:
    """Handle and acknowledge all that comes."""
    async for response in one.call:
        by_lane: dict[tuple[int, int], list[int]] = {}
        for delivery in response.deliveries.deliveries:
            handle(delivery.event.position)
            by_lane.setdefault((delivery.lane, delivery.token), []).append(delivery.event.position)
        for (lane, token), positions in by_lane.items():
            acknowledge = groups_pb2.Acknowledge(lane=lane, token=token, positions=positions)
            await one.send(groups_pb2.ConsumeRequest(acknowledge=acknowledge))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--events", type=int, default=5_000)
    arguments = parser.parse_args()
    sys.exit(run(main(arguments.seconds, arguments.events)))
