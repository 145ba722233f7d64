"""Consumer groups through the client: each event handled, in the order of its stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta

import grpc.aio
import pytest

from girih.client import (
    AsyncConsumer,
    BeyondEnd,
    CallContext,
    EventStoreClient,
    GroupChanged,
    GroupExists,
    GroupNotFound,
    GroupSettings,
    InvalidRequest,
    LeaseLost,
    NewEvent,
    Park,
    ParkedEventNotFound,
    ParkingPolicy,
    Query,
    RetryLater,
    RetryPolicy,
    current_context,
)
from girih.client.groups.consuming import AsyncMessage
from girih.events.v1 import groups_pb2 as pb
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from services.plumbing.grpc.errors import from_rpc_error
from tests.contract.conftest import Served

pytestmark = pytest.mark.timeout(240)

RETRY = RetryPolicy(timeout_s=60.0, attempt_timeout_s=20.0, pause_s_min=0.01, pause_s_max=0.1)


@pytest.fixture
async def girih(served: Served) -> AsyncIterator[EventStoreClient]:
    token = served.callers.token()
    async with EventStoreClient.connect(served.address, token=token, retry=RETRY) as girih:
        yield girih


async def fill(girih: EventStoreClient, *streams: str) -> None:
    """Events whose data is their number, from 1 on."""
    head = await girih.head()
    await girih.append(
        [NewEvent.with_data(stream, "happened", head + n) for n, stream in enumerate(streams, 1)]
    )


async def taken(consumer: AsyncConsumer, count: int) -> list[AsyncMessage]:
    """The first messages, nothing said of them yet."""
    messages: list[AsyncMessage] = []
    async with asyncio.timeout(60):
        async for message in consumer:
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def handled(girih: EventStoreClient, group: str, count: int) -> list[int]:
    """The positions of the first messages, each acknowledged as it comes."""
    positions: list[int] = []
    async with asyncio.timeout(60), girih.consume(group) as consumer:
        async for message in consumer:
            positions.append(message.event.position)
            await message.ack()
            if len(positions) == count:
                break
    return positions


async def collect(
    call: grpc.aio.StreamStreamCall[pb.ConsumeRequest, pb.ConsumeResponse], into: list[pb.Delivery]
) -> None:
    """Keeps what came before the call ends."""
    async with asyncio.timeout(60):
        async for response in call:
            into.extend(response.deliveries.deliveries)


async def test_each_event_comes_once_and_those_of_a_stream_in_their_order(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g")
    await fill(girih, *["a", "b", "a", "c", "b", "a"] * 5)

    positions = await handled(girih, "g", 30)

    assert sorted(positions) == list(range(1, 31))
    for stream in "abc":
        of_stream = [event.position async for event in girih.read(stream)]
        assert [one for one in positions if one in of_stream] == of_stream
    await fill(girih, "a")
    assert await handled(girih, "g", 1) == [31]


async def test_of_a_stream_one_message_is_under_way_at_a_time(girih: EventStoreClient) -> None:
    await girih.groups.create("g")
    await fill(girih, "a", "a", "b", "b")

    async with girih.consume("g") as consumer, aclosing(aiter(consumer)) as messages:
        first, second = await anext(messages), await anext(messages)
        assert {first.event.position, second.event.position} == {1, 3}
        await first.ack()
        third = await anext(messages)
        assert third.event.stream == first.event.stream


async def test_a_message_that_is_tried_later_holds_back_its_stream_and_no_other(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g")
    await fill(girih, "a", "a", "b")
    seen: list[tuple[int, int]] = []

    async with asyncio.timeout(60), girih.consume("g") as consumer:
        async for message in consumer:
            seen.append((message.event.position, message.attempt))
            if message.event.position == 1 and message.attempt < 3:
                await message.retry(delay=0.3, reason="not yet")
            else:
                await message.ack()
            if len(seen) == 5:
                break

    assert sorted(seen) == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]
    assert [one for one in seen if one[0] != 3] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert seen.index((3, 1)) < seen.index((1, 2))


async def test_a_lane_of_which_as_much_waits_as_may_is_given_nothing_more(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g", GroupSettings(lane_count=2, held_count_max=2))
    await fill(girih, "a", "a")

    async with girih.consume("g") as consumer, aclosing(aiter(consumer)) as messages:
        # What is behind it waits with it; of what comes only the last is of the other lane.
        await (await anext(messages)).park("broken")
        await fill(girih, "b", "c", "d")
        later = await anext(messages)
        await later.ack()
        assert later.event.stream == "d"

        await girih.groups.discard("g")
        given = [await anext(messages) for _ in "abc"]

    assert sorted(message.event.stream for message in given) == ["a", "b", "c"]


async def test_an_event_is_parked_after_its_attempts_and_what_follows_waits(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g", GroupSettings(attempt_count_max=2))
    await fill(girih, "a", "a", "b")

    async with girih.consume("g") as consumer, aclosing(aiter(consumer)) as messages:
        for _ in range(3):
            message = await anext(messages)
            if message.event.stream == "a":
                await message.retry(reason=f"attempt {message.attempt}")
            else:
                await message.ack()

    (parked,) = [one async for one in girih.groups.parked("g")]
    assert (parked.position, parked.key, parked.attempt_count) == (1, "a", 2)
    assert (parked.reason, parked.waiting_count) == ("attempt 2", 1)
    assert await girih.groups.replay("g", [1]) == 1
    assert await handled(girih, "g", 2) == [1, 2]
    assert [one async for one in girih.groups.parked("g")] == []


async def test_what_follows_a_discarded_event_goes_on(girih: EventStoreClient) -> None:
    await girih.groups.create("g")
    await fill(girih, "a", "a")
    async with girih.consume("g") as consumer:
        (message,) = await taken(consumer, 1)
        await message.park("no address")

    assert await girih.groups.replay("g", []) == 0
    assert await girih.groups.discard("g", []) == 0
    assert await girih.groups.discard("g") == 1

    assert await handled(girih, "g", 1) == [2]
    with pytest.raises(ParkedEventNotFound):
        await girih.groups.replay("g", [1])


async def test_a_parked_event_lets_what_follows_pass_where_the_group_says_so(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g", GroupSettings(parking=ParkingPolicy.PASS))
    await fill(girih, "a", "a")

    async with girih.consume("g") as consumer, aclosing(aiter(consumer)) as messages:
        await (await anext(messages)).park("no address")
        second = await anext(messages)

    assert second.event.position == 2


async def test_what_was_not_acknowledged_comes_again_and_nothing_else(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g")
    await fill(girih, "a", "b", "c")

    async with girih.consume("g") as consumer:
        first, _, third = sorted(await taken(consumer, 3), key=lambda one: one.event.position)
        await asyncio.gather(first.ack(), third.ack())

    assert await handled(girih, "g", 1) == [2]


async def test_a_message_can_be_settled_once(girih: EventStoreClient) -> None:
    await girih.groups.create("g")
    await fill(girih, "a")

    async with girih.consume("g") as consumer:
        (message,) = await taken(consumer, 1)
        held = [message.is_held]
        await message.ack()
        held.append(message.is_held)
        with pytest.raises(LeaseLost):
            await message.retry()

    assert held == [True, False]


async def test_consumers_share_the_lanes(girih: EventStoreClient) -> None:
    await girih.groups.create("g", GroupSettings(lane_count=2))
    one, two = girih.consume("g", name="first"), girih.consume("g", name="second")
    positions: list[int] = []

    async def handle(message: AsyncMessage) -> None:
        positions.append(message.event.position)

    async def shares() -> dict[str, int]:
        described = await girih.groups.get("g")
        return {consumer.name: consumer.lane_count for consumer in described.consumers}

    handling = [asyncio.create_task(consumer.handle(handle)) for consumer in (one, two)]
    async with asyncio.timeout(60):
        while await shares() != {"first": 1, "second": 1}:  # noqa: ASYNC110 - the service decides
            await asyncio.sleep(0.02)
        await fill(girih, *[f"s-{n}" for n in range(40)])
        while len(positions) < 40:  # noqa: ASYNC110 - of other tasks
            await asyncio.sleep(0.02)
        one.close()
        two.close()
        await asyncio.gather(*handling)

    assert sorted(positions) == list(range(1, 41))


async def test_a_consumer_that_is_silent_loses_its_lanes_and_what_it_has(
    girih: EventStoreClient, channel: grpc.aio.Channel
) -> None:
    await girih.groups.create("g", GroupSettings(lease_s=1.0))
    await fill(girih, "a")
    given: list[pb.Delivery] = []
    while not given:  # so short a lease may be over before, on a machine that is busy
        call = GroupServiceStub(channel).Consume()
        await call.write(pb.ConsumeRequest(start=pb.ConsumerStart(group="g", credits=1)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(call, given)

    async with girih.consume("g") as consumer:
        async for message in consumer:
            with suppress(LeaseLost):
                await message.ack()
                break

    assert from_rpc_error(caught.value).reason == "CONSUMER_SILENT"
    assert (given[0].event.position, message.event.position) == (1, 1)
    assert message.token > given[0].token


async def test_what_is_refused_tells_the_event_that_it_was_about(
    girih: EventStoreClient, channel: grpc.aio.Channel
) -> None:
    await girih.groups.create("g")
    late = pb.RetryLater(position=7, delay=timedelta(days=31))
    call = GroupServiceStub(channel).Consume()

    for request in (
        pb.ConsumeRequest(start=pb.ConsumerStart(group="g", credits=1)),
        pb.ConsumeRequest(retry_later=late),
        pb.ConsumeRequest(park=pb.Park(position=8, reason="x" * 1_001)),
        pb.ConsumeRequest(set_credits=pb.SetCredits(credits=-1)),
    ):
        await call.write(request)
    await call.done_writing()
    refused = [one.refused async for one in call if one.HasField("refused")]

    assert [one.position for one in refused] == [7, 8, 0]


async def test_no_positions_are_not_all_that_is_parked(
    girih: EventStoreClient, channel: grpc.aio.Channel
) -> None:
    await girih.groups.create("g", GroupSettings(attempt_count_max=1))
    await fill(girih, "a")
    async with girih.consume("g") as consumer:
        (message,) = await taken(consumer, 1)
        await message.park("no")
    groups = GroupServiceStub(channel)

    for positions, is_all in (([], False), ([1], True)):
        replaying = pb.ReplayParkedEventsRequest(group="g", positions=positions, all=is_all)
        discarding = pb.DiscardParkedEventsRequest(group="g", positions=positions, all=is_all)
        with pytest.raises(grpc.aio.AioRpcError) as replay:
            await groups.ReplayParkedEvents(replaying)
        with pytest.raises(grpc.aio.AioRpcError) as discard:
            await groups.DiscardParkedEvents(discarding)
        reasons = {from_rpc_error(one.value).reason for one in (replay, discard)}
        assert reasons == {"INVALID_INPUT"}
    discarded = await groups.DiscardParkedEvents(pb.DiscardParkedEventsRequest(group="g", all=True))

    assert discarded.event_count == 1


async def test_a_filter_says_which_events_come(girih: EventStoreClient) -> None:
    await girih.groups.create("g", GroupSettings(filter=Query(tags=["urgent"])))
    await fill(girih, "a", "b")
    urgent = NewEvent.with_data("a", "happened", 3, tags=("urgent",))

    await girih.append([urgent])

    assert await handled(girih, "g", 1) == [3]


async def test_events_are_kept_in_the_order_of_a_tag(girih: EventStoreClient) -> None:
    await girih.groups.create("g", GroupSettings(key_tag_prefix="order:"))
    sent = [
        NewEvent.with_data(stream, "happened", {}, tags=(tag,))
        for stream, tag in [("a", "order:1"), ("b", "order:1"), ("c", "order:2")]
    ]
    await girih.append(sent)

    async with girih.consume("g") as consumer:
        positions = {message.event.position for message in await taken(consumer, 2)}

    assert positions == {1, 3}


async def test_a_group_changes_in_place(girih: EventStoreClient) -> None:
    await girih.groups.create("g", GroupSettings(lane_count=2))
    await fill(girih, "a", "b", "a")
    await handled(girih, "g", 1)
    done = {1, 2, 3} - set(await handled(girih, "g", 1))

    wider = GroupSettings(lane_count=5, lease_s=3.0)
    assert await girih.groups.update("g", wider, expected_version=1) == 2

    described = await girih.groups.get("g")
    assert (described.settings, len(described.lanes), described.version) == (wider, 5, 2)
    assert len(done) == 2
    with pytest.raises(GroupChanged):
        await girih.groups.update("g", GroupSettings(), expected_version=1)
    (left,) = await handled(girih, "g", 1)
    assert left in {1, 2, 3}


async def test_what_a_new_filter_does_not_mean_is_not_tried_again(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g")
    await fill(girih, "a", "p")
    async with girih.consume("g") as consumer:
        for message in await taken(consumer, 2):
            if message.event.stream == "a":
                await message.retry(delay=0.05)
            else:
                await message.park("for people")

    await girih.groups.update("g", GroupSettings(filter=Query(stream_prefix="b")))
    await fill(girih, "b", "b")

    assert await handled(girih, "g", 2) == [3, 4]
    assert [one.position async for one in girih.groups.parked("g")] == [2]
    assert await girih.groups.replay("g") == 1
    await fill(girih, "b")
    assert await handled(girih, "g", 1) == [5]


async def test_a_group_goes_on_where_it_is_set(girih: EventStoreClient) -> None:
    await fill(girih, "a", "b", "c")
    await girih.groups.create("g", from_position=3)
    assert await handled(girih, "g", 1) == [3]

    assert await girih.groups.reset("g", from_position=2) == 2

    assert sorted(await handled(girih, "g", 2)) == [2, 3]
    with pytest.raises(BeyondEnd):
        await girih.groups.reset("g", from_position=9)


async def test_groups_are_made_once_listed_and_deleted(girih: EventStoreClient) -> None:
    assert await girih.groups.create("g")
    assert not await girih.groups.create("g")
    with pytest.raises(GroupExists):
        await girih.groups.create("g", GroupSettings(lane_count=3))
    await girih.groups.create("h")

    assert [one.group async for one in girih.groups.list()] == ["g", "h"]

    await girih.groups.delete("g")
    await girih.groups.delete("g")
    with pytest.raises(GroupNotFound):
        await girih.groups.get("g")
    with pytest.raises(GroupNotFound):
        await taken(girih.consume("g"), 1)


@pytest.mark.parametrize("count", [0, -1, 10_001])
async def test_credits_out_of_bounds_are_refused(girih: EventStoreClient, count: int) -> None:
    await girih.groups.create("g")

    with pytest.raises(InvalidRequest):
        await taken(girih.consume("g", credits=count), 1)


@pytest.mark.parametrize(
    "settings",
    [
        GroupSettings(lane_count=0),
        GroupSettings(lane_count=257),
        GroupSettings(lease_s=0.5),
        GroupSettings(filter=Query()),
        GroupSettings(filter=Query(category="a", stream_prefix="b-")),
        GroupSettings(attempt_count_max=-1),
    ],
)
async def test_settings_that_make_no_sense_are_refused(
    girih: EventStoreClient, settings: GroupSettings
) -> None:
    with pytest.raises(InvalidRequest):
        await girih.groups.create("g", settings)

    assert [one async for one in girih.groups.list()] == []


async def test_handlers_run_side_by_side_and_say_what_became_of_each(
    girih: EventStoreClient,
) -> None:
    await girih.groups.create("g", GroupSettings(attempt_count_max=2))
    contexts: dict[int, CallContext] = {}
    attempts: list[int] = []
    consumer = girih.consume("g")

    async def handle(message: AsyncMessage) -> None:
        position = message.event.position
        attempts.append(position)
        contexts[position] = current_context()
        if position == 1:
            raise Park("never")
        if position == 2 and message.attempt == 1:
            raise RetryLater(0.1, "later")
        if position == 3:
            raise ValueError("broken")
        if position == 4:
            consumer.close()

    await girih.acting(correlation_id="c-1").append(
        [NewEvent.with_data(f"s-{n}", "happened", n) for n in range(3)]
    )
    handling = asyncio.create_task(consumer.handle(handle, concurrency=3))
    async with asyncio.timeout(60):
        while attempts.count(3) < 2 or attempts.count(2) < 2:  # noqa: ASYNC110 - of other tasks
            await asyncio.sleep(0.02)
        await fill(girih, "last")
        await handling

    parked = {one.position: one.reason async for one in girih.groups.parked("g")}
    assert parked == {1: "never", 3: "ValueError: broken"}
    first = await girih.last("s-0")
    assert first is not None
    assert (contexts[1].correlation_id, contexts[1].causation_id) == ("c-1", first.id)
    described = await girih.groups.get("g")
    assert sum(lane.held_count for lane in described.lanes) == 0
