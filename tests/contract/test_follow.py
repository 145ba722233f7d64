"""Who follows a log gets every event once and in order, and soon; and holds nothing up."""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as pb
from services.plumbing.grpc.errors import from_rpc_error
from tests.contract.calling import Callers
from tests.events.following import Follower, following
from tests.events.making import append_of, message

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub


async def refused(follower: Follower) -> grpc.aio.AioRpcError:
    error = await follower.until_over()
    assert error is not None
    return error


async def test_what_is_stored_comes_first_and_then_what_is_committed(
    events: "EventStoreServiceAsyncStub",
) -> None:
    await events.Append(append_of("a", "b"))

    async with following(events) as follower:
        assert await follower.until(2) == [1, 2]
        await events.Append(append_of("a", "b", "a"))
        assert await follower.until(5) == [1, 2, 3, 4, 5]
        assert not follower.is_over


async def test_a_stream_is_followed_alone(events: "EventStoreServiceAsyncStub") -> None:
    await events.Append(append_of("a", "b", "a"))

    async with following(events, pb.ReadRequest(stream="a")) as follower:
        assert await follower.until(2) == [1, 3]
        await events.Append(append_of("b", "a", "b", "a"))
        assert await follower.until(4) == [1, 3, 5, 7]
        assert [one.revision for one in follower.received] == [0, 1, 2, 3]


async def test_a_follower_is_told_that_it_is_one_before_anything_comes(
    events: "EventStoreServiceAsyncStub",
) -> None:
    async with asyncio.timeout(60), following(events) as follower:
        assert await follower.accepted()


async def test_a_stream_that_does_not_exist_yet_is_followed(
    events: "EventStoreServiceAsyncStub",
) -> None:
    async with following(events, pb.ReadRequest(stream="new")) as follower:
        await events.Append(append_of("other"))
        await events.Append(append_of("new"))

        assert await follower.until(1) == [2]


@pytest.mark.parametrize(
    ("request_", "positions"),
    [
        (pb.ReadRequest(from_position=2), [2, 3, 4, 5, 6]),
        (pb.ReadRequest(from_position=4), [4, 5, 6]),
        (pb.ReadRequest(stream="a", from_position=3), [3, 5]),
        (pb.ReadRequest(stream="a", from_position=4), [5]),
        (pb.ReadRequest(stream="a", from_revision=1), [3, 5]),
        (pb.ReadRequest(stream="a", from_revision=2), [5]),
    ],
)
async def test_following_goes_on_from_where_it_is_told(
    events: "EventStoreServiceAsyncStub", request_: pb.ReadRequest, positions: list[int]
) -> None:
    await events.Append(append_of("a", "b", "a"))

    async with following(events, request_) as follower:
        await follower.accepted()
        await events.Append(append_of("b", "a", "b"))
        assert await follower.until(len(positions)) == positions


@pytest.mark.parametrize("stream", ["", "a"])
async def test_a_limit_ends_the_call(events: "EventStoreServiceAsyncStub", stream: str) -> None:
    await events.Append(append_of("a", "a"))

    async with following(events, pb.ReadRequest(stream=stream, limit=4)) as follower:
        await follower.until(2)
        await events.Append(append_of("a", "a", "a"))

        assert await follower.until_over() is None
        assert follower.positions == [1, 2, 3, 4]


async def test_nobody_follows_backwards(events: "EventStoreServiceAsyncStub") -> None:
    request = pb.ReadRequest(direction=pb.DIRECTION_BACKWARDS)

    async with following(events, request) as follower:
        error = await refused(follower)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in from_rpc_error(error).violations] == ["follow"]


@pytest.mark.parametrize(
    "request_",
    [
        pb.ReadRequest(from_position=4),
        pb.ReadRequest(stream="a", from_position=4),
        pb.ReadRequest(stream="a", from_revision=2),
    ],
)
async def test_nobody_waits_for_what_a_restored_log_will_never_hold_again(
    events: "EventStoreServiceAsyncStub", request_: pb.ReadRequest
) -> None:
    await events.Append(append_of("a", "b"))

    async with following(events, request_) as follower:
        error = await refused(follower)
        is_accepted = await follower.accepted()

    assert error.code() is grpc.StatusCode.ABORTED
    assert from_rpc_error(error).reason == "BEYOND_END"
    assert not is_accepted


@pytest.mark.parametrize(
    "request_",
    [
        pb.ReadRequest(from_position=4),
        pb.ReadRequest(stream="a", from_position=4),
        pb.ReadRequest(stream="a", from_revision=2),
    ],
)
async def test_who_has_read_a_log_that_was_replaced_is_told_so_also_behind_its_end(
    events: "EventStoreServiceAsyncStub", request_: pb.ReadRequest
) -> None:
    await events.Append(append_of("a", "b"))
    request = pb.ReadRequest(incarnation="another")
    request.MergeFrom(request_)

    async with following(events, request) as follower:
        error = from_rpc_error(await refused(follower))

    assert (error.reason, error.metadata["shared_position"]) == ("LOG_REPLACED", "0")


async def test_whoever_comes_while_others_append_misses_nothing_and_sees_nothing_twice(
    events: "EventStoreServiceAsyncStub",
) -> None:
    dice = random.Random(7)
    count = 900

    async def append() -> None:
        for _ in range(count // 30):
            streams = [dice.choice("abc") for _ in range(30)]
            await asyncio.gather(*[events.Append(append_of(stream)) for stream in streams])

    async def come(number: int) -> None:
        await asyncio.sleep(dice.uniform(0, 1.5))
        head = (await events.GetLog(pb.GetLogRequest())).head_position
        first = dice.randint(1, head + 1)
        stream = dice.choice(["", "", "a", "b"])
        request = pb.ReadRequest(stream=stream, from_position=first)
        async with following(events, request) as follower:
            await appended.wait()
            expected = [at for at, of in placed.items() if at >= first and stream in ("", of)]
            assert await follower.until(len(expected)) == expected, f"follower {number}"

    appended, placed = asyncio.Event(), dict[int, str]()
    coming = [asyncio.create_task(come(number)) for number in range(60)]
    await append()
    async for response in events.Read(pb.ReadRequest()):
        placed |= {one.position: one.event.stream for one in response.events}
    assert list(placed) == list(range(1, count + 1))
    appended.set()
    await asyncio.gather(*coming)


async def test_events_of_any_size_are_followed(events: "EventStoreServiceAsyncStub") -> None:
    dice = random.Random(3)
    sizes = [dice.choice([10, 600, 5_000, 70_000, 300_000, 3_000_000]) for _ in range(60)]
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(following(events))
        for size in sizes:
            await events.Append(pb.AppendRequest(events=[message("s", '"' + "x" * size + '"')]))
        late = await stack.enter_async_context(following(events))
        of_stream = await stack.enter_async_context(following(events, pb.ReadRequest(stream="s")))

        for follower in (live, late, of_stream):
            await follower.until(len(sizes))
            assert [len(one.event.json) - 2 for one in follower.received] == sizes


async def test_tenants_follow_their_own_logs(
    events: "EventStoreServiceAsyncStub", callers: Callers
) -> None:
    ours, theirs = callers.metadata("acme"), callers.metadata("globex")
    async with following(events, metadata=ours) as follower:
        await follower.accepted()
        await events.Append(append_of("theirs"), metadata=theirs)
        await events.Append(append_of("ours"), metadata=ours)

        await follower.until(1)

    assert [one.event.stream for one in follower.received] == ["ours"]
