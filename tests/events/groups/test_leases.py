"""A consumer is never told of lanes that they are its own for longer than they are."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from girih.events.v1 import groups_pb2 as pb
from services.events.lanes.group import Beat, ClaimedLane
from services.events.postgres.groups.leading import PostgresLanes
from services.events.reading.reader import Reader
from services.plumbing.errors import ResourceExhausted
from services.plumbing.grpc.errors import from_rpc_error
from tests.events.groups.conftest import Create
from tests.events.groups.consuming import Consumer, consuming
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

HELD_UP_S = 0.5
LEASE = timedelta(seconds=600)


async def until_certain_s(consumer: Consumer) -> float:
    """By `time.monotonic`, until when the lanes of a consumer are its own, as it is told."""
    sent_s = time.monotonic()
    answer = await consumer.quiet()
    return sent_s + answer.valid.ToTimedelta().total_seconds()


async def lease_left_s(database_url: str) -> float:
    """Of the lane that ends first, as the database has it."""
    connection = await asyncpg.connect(database_url)
    left_s = await connection.fetchval(
        "SELECT extract(epoch FROM min(expires_at) - clock_timestamp())::double precision"
        " FROM events.group_lanes WHERE consumer <> ''"
    )
    await connection.close()
    return float(left_s)


async def holds_up(database_url: str) -> bool:
    """Whether somebody may not know yet what was taken."""
    connection = await asyncpg.connect(database_url)
    query = "SELECT bool_or(void_until > clock_timestamp()) FROM events.group_consumers"
    is_so = await connection.fetchval(query)
    await connection.close()
    return bool(is_so)


async def consumer_count(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    count = await connection.fetchval("SELECT count(*) FROM events.group_consumers")
    await connection.close()
    return int(count)


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


async def changed(groups: "GroupServiceAsyncStub") -> None:
    settings = pb.GroupSettings(lane_count=3, lease=LEASE)
    await groups.UpdateGroup(pb.UpdateGroupRequest(group="g", settings=settings))


async def reset(groups: "GroupServiceAsyncStub") -> None:
    await groups.ResetGroup(pb.ResetGroupRequest(group="g", start=pb.GroupStart(position=1)))


async def replayed(groups: "GroupServiceAsyncStub") -> None:
    await groups.ReplayParkedEvents(pb.ReplayParkedEventsRequest(group="g", positions=[1]))


Change = Callable[["GroupServiceAsyncStub"], Awaitable[None]]


@pytest.mark.parametrize("change", [changed, reset])
async def test_lanes_that_are_taken_from_a_consumer_go_to_nobody_before_it_has_heard_of_that(
    groups: "GroupServiceAsyncStub", create: Create, change: Change
) -> None:
    await create(lane_count=2, lease=LEASE)
    async with consuming(groups) as one, consuming(groups) as two:
        await two.until_lanes(1)
        await one.until_lanes(1)
        one.confirms = False
        tokens = set(two.lanes.values()) | set(one.lanes.values())
        await change(groups)
        while tokens & set(two.lanes.values()):
            await two.take()
        await asyncio.sleep(HELD_UP_S)
        await two.quiet()
        before = dict(two.lanes)

        one.confirms = True
        async with asyncio.TaskGroup() as doing:
            hearing = doing.create_task(_confirm(one))
            while not two.lanes:
                await two.take()
            hearing.cancel()

    assert before == {}


@pytest.mark.parametrize("change", [changed, reset, replayed])
async def test_it_is_kept_of_whom_lanes_were_taken_until_they_have_heard(
    database_url: str,
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
    change: Change,
) -> None:
    await create(lease=LEASE)
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        await consumer.say(park=pb.Park(lane=one.lane, token=one.token, position=1, reason="bad"))
        await consumer.until_settled(1)
        token, consumer.confirms = consumer.lanes[0], False
        await change(groups)
        while consumer.lanes.get(0) in (None, token):
            await consumer.take()
        is_kept = await holds_up(database_url)

        consumer.confirms = True
        await consumer.confirm()
        while await holds_up(database_url):
            await consumer.quiet()

    assert is_kept


async def _confirm(consumer: Consumer) -> None:
    """Take what it is told, and say so."""
    await consumer.confirm()
    while True:
        await consumer.take()


async def test_one_that_never_says_what_it_has_heard_holds_up_others_for_its_lease_alone(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=1, lease=timedelta(seconds=2))
    async with consuming(groups) as one:
        one.confirms = False
        await one.until_lanes(1)
        async with consuming(groups, name="two") as two:
            shorter = pb.GroupSettings(lane_count=2, lease=timedelta(seconds=2))
            await groups.UpdateGroup(pb.UpdateGroupRequest(group="g", settings=shorter))
            async with asyncio.TaskGroup() as doing:
                living = [doing.create_task(_stay(one)), doing.create_task(_say_alive(two))]
                await two.until_lanes(1)
                for task in living:
                    task.cancel()


async def _stay(consumer: Consumer) -> None:
    while True:
        await consumer.quiet()
        await asyncio.sleep(0.2)


async def test_a_consumer_is_told_of_another_lease(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lease=timedelta(seconds=600))
    async with consuming(groups) as consumer:
        await consumer.until_lanes(1)
        shorter = pb.GroupSettings(lane_count=1, lease=timedelta(seconds=30))
        await groups.UpdateGroup(pb.UpdateGroupRequest(group="g", settings=shorter))
        while consumer.lease_s != 30.0:
            await consumer.take()


async def test_lanes_of_which_it_is_not_known_whether_they_fit_are_not_kept(
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check, failed = Reader.check_holds, asyncio.Event()

    async def busy_once(self: Reader, *args: Any, **kwargs: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise ResourceExhausted("the database is busy")
        await check(self, *args, **kwargs)

    monkeypatch.setattr(Reader, "check_holds", busy_once)
    await create(lease=timedelta(seconds=1))
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer, asyncio.TaskGroup() as doing:
        await failed.wait()
        living = doing.create_task(_say_alive(consumer))
        await consumer.events(1)
        living.cancel()


async def _say_alive(consumer: Consumer) -> None:
    while True:
        await consumer.confirm()
        await asyncio.sleep(0.2)


async def test_a_group_that_was_created_anew_is_another(
    groups: "GroupServiceAsyncStub", create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, is_held_up, goes_on = PostgresLanes.beat, asyncio.Event(), asyncio.Event()

    async def held_up(self: PostgresLanes, *args: Any, **kwargs: Any) -> Beat | None:
        if args[1]:
            is_held_up.set()
            await goes_on.wait()
        return await beat(self, *args, **kwargs)

    monkeypatch.setattr(PostgresLanes, "beat", held_up)
    await create(lease=timedelta(seconds=3))
    async with consuming(groups) as consumer:
        await consumer.until_lanes(1)
        [token] = consumer.lanes.values()
        await is_held_up.wait()
        await groups.DeleteGroup(pb.DeleteGroupRequest(group="g"))
        await create(lease=timedelta(seconds=3))
        goes_on.set()
        error = from_rpc_error(await consumer.status())

    async with consuming(groups) as consumer:
        await consumer.until_lanes(1)

    assert error.reason == "GROUP_NOT_FOUND"
    assert list(consumer.lanes.values()) > [token]


async def test_a_lane_that_is_given_to_who_has_it_is_delivered_again(
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim, is_reset = PostgresLanes.claim, asyncio.Event()

    async def behind_a_reset(
        self: PostgresLanes, *args: Any, **kwargs: Any
    ) -> Sequence[ClaimedLane]:
        if is_reset.is_set():
            is_reset.clear()
            await reset(groups)
        return await claim(self, *args, **kwargs)

    monkeypatch.setattr(PostgresLanes, "claim", behind_a_reset)
    await create(lane_count=2, lease=LEASE)
    await events.Append(append_of(*"abcdefgh"))
    async with consuming(groups, credit_count=1) as one:
        [first] = await one.events(1)
        async with consuming(groups) as two:
            await two.until_lanes(1)
            is_reset.set()
            await two.leave()
        [again] = await one.events(1)

    assert again.token > first.token


async def test_who_has_gone_is_not_there_again_by_what_was_still_on_its_way(
    database_url: str,
    groups: "GroupServiceAsyncStub",
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beat, is_late, goes_on = PostgresLanes.beat, asyncio.Event(), asyncio.Event()
    is_over = asyncio.Event()

    async def late(self: PostgresLanes, *args: Any, **kwargs: Any) -> Beat | None:
        async def at_last() -> Beat | None:
            if args[0].called == "two" and args[1]:
                is_late.set()
                await goes_on.wait()
                is_over.set()
            return await beat(self, *args, **kwargs)

        # The database goes on with it, whoever waits for it or not.
        return await asyncio.shield(at_last())

    monkeypatch.setattr(PostgresLanes, "beat", late)
    await create(lane_count=2, lease=LEASE)
    async with consuming(groups) as one:
        await one.until_lanes(2)
        async with consuming(groups, name="two") as two:
            await two.until_lanes(1)
            await is_late.wait()
            leaving = asyncio.create_task(two.leave())
            await asyncio.sleep(HELD_UP_S)
            goes_on.set()
            await leaving
        await is_over.wait()
        while await consumer_count(database_url) > 1:
            await one.quiet()
