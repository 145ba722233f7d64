"""Who follows a log gets every event once and in order, and soon; and holds nothing up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.events.app import built
from services.events.settings import Settings
from services.plumbing.channel import open_channel
from services.plumbing.grpc_errors import from_rpc_error
from services.plumbing.server import Server, running
from tests.authority import Authority
from tests.events.following import Follower, following
from tests.events.making import append_of
from tests.events.serving import until_serving


@asynccontextmanager
async def serving(
    settings: Settings, authority: Authority
) -> AsyncIterator[tuple[Server, EventStoreServiceStub]]:
    """One more service on the same database, and a stub for it."""
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        yield server, EventStoreServiceStub(channel)


async def refused(follower: Follower) -> grpc.aio.AioRpcError:
    error = await follower.until_over()
    assert error is not None
    return error


def followed_tasks() -> list[str]:
    names = {task.get_name() for task in asyncio.all_tasks()}
    return sorted(names & {"tail", "read ahead"})


async def test_what_is_stored_comes_first_and_then_what_is_committed(
    events: EventStoreServiceStub,
) -> None:
    await events.Append(append_of("a", "b"))

    async with following(events) as follower:
        assert await follower.until(2) == [1, 2]
        await events.Append(append_of("a", "b", "a"))
        assert await follower.until(5) == [1, 2, 3, 4, 5]
        assert not follower.is_over


async def test_a_stream_is_followed_alone(events: EventStoreServiceStub) -> None:
    await events.Append(append_of("a", "b", "a"))

    async with following(events, pb.ReadRequest(stream="a")) as follower:
        assert await follower.until(2) == [1, 3]
        await events.Append(append_of("b", "a", "b", "a"))
        assert await follower.until(4) == [1, 3, 5, 7]
        assert [one.revision for one in follower.received] == [0, 1, 2, 3]


async def test_a_stream_that_does_not_exist_yet_is_followed(
    events: EventStoreServiceStub,
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
    events: EventStoreServiceStub, request_: pb.ReadRequest, positions: list[int]
) -> None:
    await events.Append(append_of("a", "b", "a"))

    async with following(events, request_) as follower:
        await follower.accepted()
        await events.Append(append_of("b", "a", "b"))
        assert await follower.until(len(positions)) == positions


@pytest.mark.parametrize("stream", ["", "a"])
async def test_a_limit_ends_the_call(events: EventStoreServiceStub, stream: str) -> None:
    await events.Append(append_of("a", "a"))

    async with following(events, pb.ReadRequest(stream=stream, limit=4)) as follower:
        await follower.until(2)
        await events.Append(append_of("a", "a", "a"))

        assert await follower.until_over() is None
        assert follower.positions == [1, 2, 3, 4]


async def test_nobody_follows_backwards(events: EventStoreServiceStub) -> None:
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
    events: EventStoreServiceStub, request_: pb.ReadRequest
) -> None:
    await events.Append(append_of("a", "b"))

    async with following(events, request_) as follower:
        error = await refused(follower)

    assert error.code() is grpc.StatusCode.ABORTED
    assert from_rpc_error(error).reason == "BEYOND_END"
