"""Consumers share the events of a group: each once, in order of its key, and none is lost."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from girih.events.v1 import events_pb2
from girih.events.v1 import groups_pb2 as pb
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from services.events.app import built
from services.events.groups import servicer
from services.events.settings import Settings
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.server import running
from tests.authority import Authority
from tests.events.groups.conftest import Create
from tests.events.groups.consuming import Consumer, consuming
from tests.events.making import append_of
from tests.events.serving import until_serving

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

Events = "EventStoreServiceAsyncStub"
Groups = "GroupServiceAsyncStub"


def positions(deliveries: "list[pb.Delivery] | tuple[pb.Delivery, ...]") -> list[int]:
    return [one.event.position for one in deliveries]


async def handled(consumer: Consumer, count: int) -> list[int]:
    """Positions of so many more events, each acknowledged as it comes."""
    positions_handled = []
    for _ in range(count):
        [one] = await consumer.events(1)
        positions_handled.append(one.event.position)
        await consumer.acknowledge(one)
    await consumer.until_settled(*positions_handled)
    return positions_handled


async def test_what_is_there_and_what_comes_is_delivered_once_and_in_order(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "b", "a"))
    async with consuming(groups) as consumer:
        first = await handled(consumer, 3)
        await events.Append(append_of("a", "c"))
        second = await handled(consumer, 2)

    assert sorted(first) == [1, 2, 3]
    assert sorted(second) == [4, 5]


async def test_an_event_is_delivered_when_those_of_its_stream_before_it_are_acknowledged(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "a", "b"))
    async with consuming(groups) as consumer:
        first = await consumer.events(2)
        await consumer.quiet()
        assert positions(list(first)) == [1, 3]
        assert not consumer.deliveries

        await consumer.acknowledge(first[0])
        [second] = await consumer.events(1)

    assert second.event.position == 2


async def test_what_was_acknowledged_does_not_come_again(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=2)
    await events.Append(append_of("a", "b", "c", "d"))
    async with consuming(groups) as consumer:
        await consumer.until_lanes(2)
        taken = await consumer.events(4)
        kept = [one for one in taken if one.event.position in (2, 4)]
        await consumer.acknowledge(*kept)
        await consumer.until_settled(2, 4)
        await consumer.vanish()

    async with consuming(groups) as consumer:
        again = await consumer.events(2)
        await consumer.quiet()

        assert sorted(positions(list(again))) == [1, 3]
        assert not consumer.deliveries


async def test_no_more_is_delivered_than_the_consumer_has_credits(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of(*(f"s{number}" for number in range(10))))
    async with consuming(groups, credit_count=3) as consumer:
        first = await consumer.events(3)
        await consumer.quiet()
        assert not consumer.deliveries

        await consumer.acknowledge(first[0])
        await consumer.events(1)
        await consumer.say(set_credits=pb.SetCredits(credits=5))
        await consumer.events(2)
        await consumer.quiet()

        assert not consumer.deliveries


async def test_what_is_tried_again_later_holds_back_its_stream_and_not_its_lane(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "a", "b", "b"))
    async with consuming(groups) as consumer:
        taken = {one.event.event.stream: one for one in await consumer.events(2)}
        first = taken["a"]
        later = pb.RetryLater(
            lane=first.lane, token=first.token, position=1, delay=timedelta(seconds=0.5)
        )
        await consumer.say(retry_later=later)
        await consumer.acknowledge(taken["b"])
        [other] = await consumer.events(1)
        await consumer.acknowledge(other)
        [again] = await consumer.events(1)
        await consumer.acknowledge(again)
        [last] = await consumer.events(1)

    assert other.event.position == 4
    assert (again.event.position, again.attempt) == (1, 2)
    assert (last.event.position, last.attempt) == (2, 1)


async def test_attempts_are_counted_across_consumers_until_an_event_is_parked(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(attempt_count_max=3)
    await events.Append(append_of("a"))
    attempts = []
    for _ in range(3):
        async with consuming(groups) as consumer:
            [one] = await consumer.events(1)
            attempts.append(one.attempt)
            again = pb.RetryLater(lane=one.lane, token=one.token, position=1, reason="bad")
            await consumer.say(retry_later=again)
            await consumer.until_settled(1)
            await consumer.leave()

    parked = await groups.ListParkedEvents(pb.ListParkedEventsRequest(group="g"))
    assert attempts == [1, 2, 3]
    [event] = parked.events
    assert (event.position, event.key, event.reason, event.attempt_count) == (1, "a", "bad", 3)


async def test_a_consumer_that_vanishes_counts_as_an_attempt_at_its_oldest_event_alone(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "b"))
    async with consuming(groups) as consumer:
        await consumer.events(2)
        await consumer.vanish()
    async with consuming(groups) as consumer:
        again = await consumer.events(2)

    assert {one.event.position: one.attempt for one in again} == {1: 2, 2: 1}


@pytest.mark.parametrize("parking", [pb.PARKING_POLICY_HOLD, pb.PARKING_POLICY_PASS])
async def test_a_parked_event_holds_back_its_stream_or_lets_it_pass(
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
    parking: pb.ParkingPolicy,
) -> None:
    await create(parking=parking)
    await events.Append(append_of("a", "a", "b"))
    async with consuming(groups) as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        park = pb.Park(lane=0, token=taken[1].token, position=1, reason="poison")
        await consumer.say(park=park)
        await consumer.until_settled(1)
        await consumer.acknowledge(taken[3])
        await consumer.until_settled(3)
        await events.Append(append_of("b"))
        count = 2 if parking == pb.PARKING_POLICY_PASS else 1
        deliveries = await consumer.events(count)

    assert sorted(positions(list(deliveries))) == ([2, 4] if count == 2 else [4])


async def test_lanes_are_shared_and_go_to_others_when_a_consumer_comes_or_goes(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=4)
    async with consuming(groups) as one:
        await one.until_lanes(4)
        async with consuming(groups) as two:
            await two.until_lanes(2)
            await one.until_lanes(2)
            together = set(one.lanes) | set(two.lanes)
            await two.leave()
        await one.until_lanes(4)

    assert together == {0, 1, 2, 3}


async def test_a_consumer_that_vanishes_is_replaced_at_once(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lease=timedelta(seconds=600))
    await events.Append(append_of("a"))
    async with consuming(groups) as one:
        await one.events(1)
        async with consuming(groups) as two:
            await one.vanish()

            [again] = await two.events(1)

    assert again.event.position == 1


async def test_a_silent_consumer_loses_its_lanes_and_is_told(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lease=timedelta(seconds=1))
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        await consumer.events(1)

        error = from_rpc_error(await consumer.status())

    assert error.reason == "CONSUMER_SILENT"


async def test_what_is_acknowledged_under_a_lost_lease_is_refused_and_comes_again(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        await groups.ResetGroup(pb.ResetGroupRequest(group="g", start=pb.GroupStart(position=1)))
        [again] = await consumer.events(1)
        await consumer.acknowledge(one)
        refusal = await consumer.refusal()
        await consumer.acknowledge(again)
        await consumer.until_settled(1)

    assert again.token > one.token
    assert refusal.position == 1
    assert refusal.refusal.code == grpc.StatusCode.ABORTED.value[0]


async def test_what_makes_no_sense_is_refused_by_name_and_the_call_goes_on(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        codes = []
        for what in (
            {"acknowledge": pb.Acknowledge(lane=0, token=one.token, positions=[99])},
            {"acknowledge": pb.Acknowledge(lane=5, token=one.token, positions=[1])},
            {"acknowledge": pb.Acknowledge(lane=0, token=one.token + 1, positions=[1])},
            {"set_credits": pb.SetCredits(credits=0)},
            {"set_credits": pb.SetCredits(credits=100_000)},
            {"retry_later": pb.RetryLater(position=1, delay=timedelta(days=31))},
            {"park": pb.Park(lane=0, token=one.token, position=1, reason="a\0b")},
            {"start": pb.ConsumerStart(group="g", credits=1)},
            {},
        ):
            await consumer.say(**what)
            codes.append((await consumer.refusal()).refusal.code)
        await consumer.acknowledge(one)
        await consumer.until_settled(1)

    precondition, argument = (
        grpc.StatusCode.FAILED_PRECONDITION.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
    )
    assert codes == [precondition] * 3 + [argument] * 6


@pytest.mark.parametrize("start", [{"credits": 0}, {"credits": 10_001}, {"group": "no group"}])
async def test_a_start_that_makes_no_sense_ends_the_call(
    groups: "GroupServiceAsyncStub", create: Create, start: dict[str, int]
) -> None:
    await create()
    call = groups.Consume(timeout=60)
    named = {"group": "g", "credits": 1, **start}
    await call.write(pb.ConsumeRequest(start=pb.ConsumerStart(**named)))  # type: ignore[arg-type]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert from_rpc_error(caught.value).reason == "INVALID_INPUT"


async def test_a_call_that_does_not_begin_ends(
    groups: "GroupServiceAsyncStub", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "START_S", 0.01)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await groups.Consume(timeout=60).read()

    assert from_rpc_error(caught.value).reason == "CONSUMER_SILENT"


async def test_a_group_that_is_not_there_has_no_consumers(groups: "GroupServiceAsyncStub") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with consuming(groups, "nobody"):
            pass

    assert from_rpc_error(caught.value).reason == "GROUP_NOT_FOUND"


async def test_consumers_of_a_deleted_group_are_told(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    async with consuming(groups) as consumer:
        await consumer.until_lanes(1)
        await groups.DeleteGroup(pb.DeleteGroupRequest(group="g"))

        error = from_rpc_error(await consumer.status())

    assert error.reason == "GROUP_NOT_FOUND"


async def test_consumers_of_another_process_give_up_lanes_at_once(
    settings: Settings, authority: Authority, groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=2, lease=timedelta(seconds=600))
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        async with consuming(groups) as one:
            await one.until_lanes(2)
            async with consuming(GroupServiceStub(channel)) as two:
                await two.until_lanes(1)
                await two.leave()
            await one.until_lanes(1)
            await one.until_lanes(2)


async def test_consumers_end_with_their_process_also_those_without_lanes(
    settings: Settings, authority: Authority
) -> None:
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        groups = GroupServiceStub(channel)
        one_lane = pb.GroupSettings(lane_count=1)
        await groups.CreateGroup(pb.CreateGroupRequest(group="g", settings=one_lane))
        async with consuming(groups) as one, consuming(groups) as two:
            server.stopping.set()
            reasons = [from_rpc_error(await each.status()).reason for each in (one, two)]

    assert reasons == ["SHUTTING_DOWN"] * 2


async def test_a_process_that_ends_is_no_attempt_at_what_its_consumers_have(
    settings: Settings,
    authority: Authority,
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
) -> None:
    await create()
    await events.Append(append_of("a"))
    async with (
        built(settings) as server,
        running(server, "127.0.0.1:0") as port,
        open_channel(f"127.0.0.1:{port}", bearer=authority.bearer) as channel,
    ):
        await until_serving(channel)
        async with consuming(GroupServiceStub(channel)) as consumer:
            await consumer.events(1)
            server.stopping.set()
            await consumer.status()
    async with consuming(groups) as consumer:
        [again] = await consumer.events(1)

    assert (again.event.position, again.attempt) == (1, 1)


async def test_how_far_a_lane_is_that_is_given_nothing_is_written_while_others_are_busy(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=2)
    async with asyncio.timeout(60), consuming(groups) as consumer:
        while True:
            await events.Append(append_of("a"))
            await handled(consumer, 1)
            state = await groups.GetGroup(pb.GetGroupRequest(group="g"))
            if all(lane.position for lane in state.lanes):
                break


async def test_a_consumer_is_given_what_the_filter_means_and_nothing_else(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    wanted = events_pb2.Filter(queries=[events_pb2.Query(category="permit")])
    await create(filter=wanted)
    await events.Append(append_of("permit-1", "other-1", "permit-2"))
    async with consuming(groups) as consumer:
        first = await handled(consumer, 2)
        await events.Append(append_of("other-2", "permit-1"))
        second = await handled(consumer, 1)

    assert sorted(first) == [1, 3]
    assert second == [5]


async def test_events_of_one_tag_come_in_order_whatever_their_streams(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=8, key_tag_prefix="order:")
    request = append_of("a", "b", "c", "d")
    for event in request.events:
        event.tags.append("order:1")
    await events.Append(request)
    async with consuming(groups) as consumer:
        order = await handled(consumer, 4)

    assert order == [1, 2, 3, 4]
