"""A consumer is never told of lanes that they are its own for longer than they are."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from girih.events.v1 import groups_pb2 as pb
from services.events.lanes.group import ClaimedLane
from services.events.postgres.groups.leading import PostgresLanes
from tests.events.groups.conftest import Create
from tests.events.groups.consuming import Consumer, consuming
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

HELD_UP_S = 0.5


async def until_certain_s(consumer: Consumer) -> float:
    """By `time.monotonic`, until when the lanes of a consumer are its own, as it is told."""
    sent_s = time.monotonic()
    await consumer.say(alive=pb.ConsumerAlive(number=1))
    while not (response := await consumer.take()) or not response.HasField("alive"):
        assert response is not None
    return sent_s + response.alive.valid.ToTimedelta().total_seconds()


async def lease_left_s(database_url: str) -> float:
    """Of the lane that ends first, as the database has it."""
    connection = await asyncpg.connect(database_url)
    left_s = await connection.fetchval(
        "SELECT extract(epoch FROM min(expires_at) - clock_timestamp())::double precision"
        " FROM events.group_lanes WHERE consumer <> ''"
    )
    await connection.close()
    return float(left_s)


async def test_lanes_count_from_when_they_were_asked_for(
    groups: "GroupServiceAsyncStub", create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_s: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    is_answered = asyncio.Event()
    claim = PostgresLanes.claim

    async def held_up(self: PostgresLanes, *args: Any, **kwargs: Any) -> Sequence[ClaimedLane]:
        if not asked_s.done():
            asked_s.set_result(time.monotonic())
        claimed = await claim(self, *args, **kwargs)
        await is_answered.wait()
        return claimed

    monkeypatch.setattr(PostgresLanes, "claim", held_up)
    await create(lease=timedelta(seconds=20))
    async with consuming(groups) as consumer:
        since_s = await asked_s
        await asyncio.sleep(HELD_UP_S)
        until_s = await until_certain_s(consumer)
        is_answered.set()
        await consumer.until_lanes(1)

    assert until_s <= since_s + 20.0


async def test_a_lease_that_is_made_shorter_holds_as_long_as_was_told(
    database_url: str,
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
) -> None:
    await create(lane_count=2, lease=timedelta(seconds=600))
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        first_s = await until_certain_s(consumer)
        tokens = dict(consumer.lanes)

        shorter = pb.GroupSettings(lane_count=2, lease=timedelta(seconds=1))
        await groups.UpdateGroup(pb.UpdateGroupRequest(group="g", settings=shorter))
        # It has nothing of the other lane, which is so cut anew at once.
        while consumer.lanes.get(1 - one.lane) in (None, tokens[1 - one.lane]):
            assert await consumer.take() is not None
        # Several times renewed, and silent for longer than the lease is now.
        await asyncio.sleep(1.5)
        left_s, now_s = await lease_left_s(database_url), time.monotonic()
        until_s = await until_certain_s(consumer)
        await consumer.acknowledge(one)
        await consumer.until_settled(1)

    assert first_s <= now_s + left_s
    assert until_s <= now_s + left_s
