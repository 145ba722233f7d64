"""Who reads with a filter gets what it means, once and in order, and learns how far it is."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from tests.events.following import Follower, following
from tests.events.making import message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

ODD = pb.Filter(queries=[pb.Query(types=["odd"]), pb.Query(tags=["three"])])
NEVER = pb.Filter(queries=[pb.Query(types=["never"])])


def numbered(first: int, count: int) -> pb.AppendRequest:
    """Events whose types tell whether they are odd, and whose tags whether three divides them."""
    request = pb.AppendRequest()
    for number in range(first, first + count):
        event = message(f"count-{number % 7}")
        event.type = "odd" if number % 2 else "even"
        if number % 3 == 0:
            event.tags.append("three")
        request.events.append(event)
    return request


def odd(count: int) -> list[int]:
    return [number for number in range(1, count + 1) if number % 2 or number % 3 == 0]


async def read(
    events: "EventStoreServiceAsyncStub", request: pb.ReadRequest
) -> tuple[list[int], list[pb.ReadResponse]]:
    responses = [response async for response in events.Read(request)]
    return [one.position for response in responses for one in response.events], responses


async def signals(follower: Follower, name: str, count: int = 1) -> Sequence[int]:
    """The positions that were told by that name, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            positions = [
                getattr(response, name).position
                for response in follower.responses
                if response.HasField(name)
            ]
            if len(positions) >= count:
                return positions
            await asyncio.sleep(0.02)


async def test_a_read_finds_what_its_filter_means(events: "EventStoreServiceAsyncStub") -> None:
    await events.Append(numbered(1, 200))

    assert (await read(events, pb.ReadRequest(filter=ODD)))[0] == odd(200)
    backwards = pb.ReadRequest(filter=ODD, direction=pb.DIRECTION_BACKWARDS, limit=5)
    assert (await read(events, backwards))[0] == odd(200)[:-6:-1]
    behind = pb.ReadRequest(filter=ODD, from_position=100, limit=3)
    assert (await read(events, behind))[0] == [one for one in odd(200) if one >= 100][:3]


async def test_a_read_that_finds_nothing_tells_that_it_looked(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(numbered(1, 100))

    positions, responses = await read(events, pb.ReadRequest(filter=NEVER, progress=True))
    assert positions == []
    assert [response.checkpoint.position for response in responses] == [100]
    assert (await read(events, pb.ReadRequest(filter=NEVER)))[1] == []


async def test_a_follower_gets_the_same_from_the_database_and_live(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(numbered(1, 100))

    async with following(events, pb.ReadRequest(filter=ODD)) as follower:
        assert await follower.until(len(odd(100))) == odd(100)
        for first in range(101, 161, 10):
            await events.Append(numbered(first, 10))
        assert await follower.until(len(odd(160))) == odd(160)
        assert all(response.WhichOneof("signal") is None for response in follower.responses)


async def test_a_follower_that_asks_is_told_how_far_it_is(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(numbered(1, 10))

    async with following(events, pb.ReadRequest(filter=NEVER, progress=True)) as follower:
        assert await signals(follower, "caught_up") == [10]
        await events.Append(numbered(11, 5))
        assert (await signals(follower, "checkpoint"))[-1] == 15
        assert all(response.incarnation for response in follower.responses)

    request = pb.ReadRequest(filter=ODD, progress=True, from_position=16)
    async with following(events, request) as follower:
        await signals(follower, "caught_up")
        await events.Append(numbered(16, 5))
        assert await follower.until(3) == [17, 18, 19]
        assert (await signals(follower, "checkpoint"))[-1] == 20


async def test_no_checkpoint_passes_an_event_that_was_not_sent(
    events: "EventStoreServiceAsyncStub",
) -> None:
    request = pb.ReadRequest(filter=ODD, progress=True)
    async with following(events, request) as follower:
        for first in range(1, 300, 3):
            await events.Append(numbered(first, 3))
        await follower.until(len(odd(300)))

    sent = 0
    for response in follower.responses:
        if response.events:
            assert response.events[0].position == odd(300)[odd(300).index(sent) + 1 if sent else 0]
            sent = response.events[-1].position
        else:
            checkpoint = getattr(response, str(response.WhichOneof("signal"))).position
            assert [one for one in odd(300) if sent < one <= checkpoint] == []


async def test_a_quiet_follower_is_told_that_it_lives(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(numbered(1, 7))

    request = pb.ReadRequest(filter=NEVER, heartbeat=timedelta(seconds=1))
    async with following(events, request) as follower:
        assert (await signals(follower, "heartbeat", 2))[:2] == [7, 7]
        heartbeat = follower.responses[0].heartbeat
        assert (heartbeat.head_position, heartbeat.lag_count) == (7, 0)
        assert heartbeat.lag.ToMilliseconds() == 0


BAD_READS = {
    "a filter of a stream": (pb.ReadRequest(stream="s", filter=ODD), "filter"),
    "a filter without queries": (pb.ReadRequest(filter=pb.Filter()), "filter.queries"),
    "an empty query": (
        pb.ReadRequest(filter=pb.Filter(queries=[pb.Query()])),
        "filter.queries[0]",
    ),
    "a time of no year": (
        pb.ReadRequest(from_time=Timestamp(seconds=10**15)),
        "from_time",
    ),
    "two starts": (
        pb.ReadRequest(from_time=Timestamp(seconds=1), from_position=1),
        "from_time",
    ),
    "a heartbeat without follow": (
        pb.ReadRequest(heartbeat=timedelta(seconds=5)),
        "heartbeat",
    ),
    "a heartbeat too often": (
        pb.ReadRequest(follow=True, heartbeat=timedelta(milliseconds=999)),
        "heartbeat",
    ),
    "a heartbeat too rarely": (
        pb.ReadRequest(follow=True, heartbeat=timedelta(seconds=61)),
        "heartbeat",
    ),
}


async def test_a_bad_filter_is_refused_by_the_name_of_its_field(
    events: "EventStoreServiceAsyncStub",
) -> None:
    for name, (request, field) in BAD_READS.items():
        with pytest.raises(grpc.aio.AioRpcError, match=field.replace("[", r"\[")) as caught:
            await read(events, request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name


async def test_a_read_starts_at_a_time(events: "EventStoreServiceAsyncStub") -> None:
    await events.Append(numbered(1, 3))
    placed = await events.Append(numbered(4, 2))
    await events.Append(numbered(6, 2))
    time = placed.placements[0].recorded_at

    assert (await events.GetPosition(pb.GetPositionRequest(time=time))).position == 4
    assert (await read(events, pb.ReadRequest(from_time=time)))[0] == [4, 5, 6, 7]
    backwards = pb.ReadRequest(from_time=time, direction=pb.DIRECTION_BACKWARDS)
    assert (await read(events, backwards))[0] == [5, 4, 3, 2, 1]
    assert (await read(events, pb.ReadRequest(from_time=time, filter=ODD)))[0] == [5, 6, 7]
    async with following(events, pb.ReadRequest(from_time=time)) as follower:
        assert await follower.until(4) == [4, 5, 6, 7]


async def test_a_time_ahead_or_of_no_log_is_behind_the_end(
    events: "EventStoreServiceAsyncStub",
) -> None:
    ahead = Timestamp(seconds=4_000_000_000)

    assert (await events.GetPosition(pb.GetPositionRequest(time=ahead))).position == 1
    await events.Append(numbered(1, 3))
    assert (await events.GetPosition(pb.GetPositionRequest(time=ahead))).position == 4
    assert (await read(events, pb.ReadRequest(from_time=ahead)))[0] == []
    backwards = pb.ReadRequest(from_time=ahead, direction=pb.DIRECTION_BACKWARDS)
    assert (await read(events, backwards))[0] == [3, 2, 1]
