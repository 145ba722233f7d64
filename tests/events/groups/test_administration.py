"""Groups are created, changed in place, set back, and looked after; nothing is lost by it."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from girih.events.v1 import events_pb2, keeping_pb2
from girih.events.v1 import groups_pb2 as pb
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from tests.authority import Authority
from tests.events.groups.conftest import Create
from tests.events.groups.consuming import consuming
from tests.events.making import append_of

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub


async def refusal(call: Any) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def settings(lane_count: int = 1, **more: Any) -> pb.GroupSettings:
    return pb.GroupSettings(lane_count=lane_count, **more)


def category(name: str) -> events_pb2.Filter:
    return events_pb2.Filter(queries=[events_pb2.Query(category=name)])


def types(*names: str) -> events_pb2.Filter:
    return events_pb2.Filter(queries=[events_pb2.Query(types=names)])


async def update(
    groups: "GroupServiceAsyncStub", changed: pb.GroupSettings, expected: int = 0
) -> int:
    request = pb.UpdateGroupRequest(group="g", settings=changed, expected_version=expected)
    return (await groups.UpdateGroup(request)).version


async def test_creating_a_group_again_changes_nothing(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    first = await create(lane_count=3, filter=category("a"))
    again = await create(lane_count=3, filter=category("a"))

    assert not first.already_exists
    assert again.already_exists
    assert again.version == first.version


async def test_a_name_taken_with_other_settings_is_refused_and_the_group_is_as_it_was(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=3)

    error = await refusal(create(lane_count=4))

    assert error.reason == "GROUP_EXISTS"
    state = await groups.GetGroup(pb.GetGroupRequest(group="g"))
    assert (state.settings.lane_count, state.version) == (3, 1)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"lane_count": 0}, "settings.lane_count"),
        ({"lane_count": 10_000}, "settings.lane_count"),
        ({"attempt_count_max": -1}, "settings.attempt_count_max"),
        ({"lease": timedelta(seconds=0.5)}, "settings.lease"),
        ({"lease": Duration(seconds=10**12, nanos=2_100_000_000)}, "settings.lease"),
        ({"filter": events_pb2.Filter()}, "settings.filter.queries"),
        (
            {
                "filter": events_pb2.Filter(
                    queries=[events_pb2.Query(category="a", stream_prefix="b-")]
                )
            },
            "settings.filter.queries[0]",
        ),
        ({"group": "no group"}, "group"),
        ({"start": pb.GroupStart(position=0)}, "start.position"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_settings_that_make_no_sense_are_refused_by_field(
    groups: "GroupServiceAsyncStub", create: Create, bad: dict[str, Any], field: str
) -> None:
    error = await refusal(create(**bad))

    assert error.reason == "INVALID_INPUT"
    assert [violation.field for violation in error.violations] == [field]
    assert not (await groups.ListGroups(pb.ListGroupsRequest())).groups


async def test_a_group_begins_where_it_is_told(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await events.Append(append_of("a", "b", "c"))
    await create(start=pb.GroupStart(position=3))
    beyond = await refusal(create("h", start=pb.GroupStart(position=5)))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)

    assert one.event.position == 3
    assert beyond.reason == "BEYOND_END"


async def test_a_change_on_another_version_is_refused(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    assert await update(groups, settings(2), expected=1) == 2

    moved = await refusal(update(groups, settings(3), expected=1))
    fixed = await refusal(update(groups, settings(2, key_tag_prefix="x")))

    assert (moved.reason, fixed.reason) == ("GROUP_CHANGED", "GROUP_KEY_FIXED")
    assert await update(groups, settings(2)) == 2


@pytest.mark.parametrize("lane_count", [1, 2, 5])
async def test_lanes_are_cut_anew_and_nothing_acknowledged_comes_again(
    events: "EventStoreServiceAsyncStub",
    groups: "GroupServiceAsyncStub",
    create: Create,
    lane_count: int,
) -> None:
    await create(lane_count=3)
    await events.Append(append_of(*(f"s{number}" for number in range(20))))
    async with consuming(groups) as consumer:
        taken = await consumer.events(20)
        kept = [one for one in taken if one.event.position % 3]
        await consumer.acknowledge(*kept)
        await consumer.until_settled(*(one.event.position for one in kept))
        await update(groups, settings(lane_count))
        again = await consumer.events(20 - len(kept))
        await consumer.quiet()

        assert sorted(one.event.position for one in again) == [3, 6, 9, 12, 15, 18]
        assert not consumer.deliveries


async def test_lanes_are_cut_anew_again_and_again(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=3)
    await events.Append(append_of(*(f"s{number}" for number in range(30))))
    settled: set[int] = set()
    for lane_count in (2, 4, 3):
        async with consuming(groups) as consumer:
            taken = await consumer.events(30 - len(settled))
            assert settled.isdisjoint(one.event.position for one in taken)
            now = [one for one in taken if one.event.position % (lane_count + 1) == 0]
            await consumer.acknowledge(*now)
            await consumer.until_settled(*(one.event.position for one in now))
            settled.update(one.event.position for one in now)
            await consumer.leave()
        await update(groups, settings(lane_count))
    async with consuming(groups) as consumer:
        left = await consumer.events(30 - len(settled))

    assert {one.event.position for one in left} == set(range(1, 31)) - settled


async def test_too_many_cuts_that_still_count_are_refused(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(lane_count=1)
    await events.Append(append_of("a", "b"))
    reasons = []
    for number in range(2, 12):
        async with consuming(groups, credit_count=10) as consumer:
            taken = {one.event.position: one for one in await consumer.events(2 - (number > 2))}
            if 2 in taken:
                await consumer.acknowledge(taken[2])
                await consumer.until_settled(2)
        try:
            await update(groups, settings(number))
        except grpc.aio.AioRpcError as error:
            reasons.append(from_rpc_error(error).reason)

    assert set(reasons) <= {"GROUP_CHANGING"}


async def test_a_new_filter_counts_from_what_was_acknowledged_on(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(filter=category("a"))
    await events.Append(append_of("a-1", "b-1", "a-2", "b-2"))
    async with consuming(groups) as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        await consumer.acknowledge(taken[3])
        await consumer.until_settled(3)
        both = events_pb2.Filter(
            queries=[events_pb2.Query(category="a"), events_pb2.Query(category="b")]
        )
        await update(groups, settings(filter=both))
        again = await consumer.events(2)
        await consumer.quiet()

        assert sorted(one.event.position for one in again) == [1, 4]
        assert not consumer.deliveries


async def test_what_a_new_filter_adds_does_not_come_behind_what_was_held(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create(filter=types("wanted"))
    request = append_of("other", "a", "a", "a")
    for event, kind in zip(request.events, ("wanted", "wanted", "added", "wanted"), strict=True):
        event.type = kind
    await events.Append(request)
    async with consuming(groups) as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        later = timedelta(seconds=1)
        again = pb.RetryLater(lane=0, token=taken[2].token, position=2, delay=later)
        await consumer.say(retry_later=again)
        await consumer.until_settled(2)
        await update(groups, settings(filter=types("wanted", "added")))
        order: dict[int, None] = {}
        while 4 not in order:
            [one] = await consumer.events(1)
            order[one.event.position] = None
            await consumer.acknowledge(one)
        await consumer.until_settled(4)
        await consumer.quiet()

        assert [position for position in order if position != 1] == [2, 4]
        assert not consumer.deliveries


async def test_limits_change_without_cutting_lanes(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        await update(groups, settings(attempt_count_max=1))
        await consumer.acknowledge(one)
        await consumer.until_settled(1)
        await events.Append(append_of("b"))
        # Its process hears of the change a moment later: what was tried before then comes again.
        parked: list[int] = []
        while not parked:
            [one] = await consumer.events(1)
            again = pb.RetryLater(lane=one.lane, token=one.token, position=2, reason="no")
            consumer.settled.clear()
            await consumer.say(retry_later=again)
            await consumer.until_settled(2)
            listed = await groups.ListParkedEvents(pb.ListParkedEventsRequest(group="g"))
            parked = [event.position for event in listed.events]

    assert parked == [2]


async def test_a_group_is_set_back_to_a_position_or_a_time(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "b"))
    second = await events.Append(append_of("c"))
    async with consuming(groups) as consumer:
        taken = await consumer.events(3)
        await consumer.acknowledge(*taken)
        await consumer.until_settled(1, 2, 3)
        start = pb.GroupStart(time=second.placements[0].recorded_at)
        by_time = await groups.ResetGroup(pb.ResetGroupRequest(group="g", start=start))
        [one] = await consumer.events(1)
        await groups.ResetGroup(pb.ResetGroupRequest(group="g", start=pb.GroupStart(position=1)))
        again = await consumer.events(3)

    assert (by_time.position, one.event.position) == (3, 3)
    assert sorted(one.event.position for one in again) == [1, 2, 3]


async def test_parked_events_are_replayed_before_what_they_held_back(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "a"))
    async with consuming(groups) as consumer:
        [one] = await consumer.events(1)
        await consumer.say(park=pb.Park(lane=0, token=one.token, position=1, reason="bad"))
        await consumer.until_settled(1)
        [parked] = (await groups.ListParkedEvents(pb.ListParkedEventsRequest(group="g"))).events
        replayed = await groups.ReplayParkedEvents(
            pb.ReplayParkedEventsRequest(group="g", positions=[1])
        )
        [again] = await consumer.events(1)
        await consumer.acknowledge(again)
        [behind] = await consumer.events(1)

    assert (parked.key, parked.reason, parked.waiting_count) == ("a", "bad", 1)
    assert replayed.event_count == 1
    assert (again.event.position, again.attempt, behind.event.position) == (1, 1, 2)


async def test_what_a_discarded_event_held_back_goes_on(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "b", "a"))
    async with consuming(groups) as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        await consumer.say(park=pb.Park(lane=0, token=taken[1].token, position=1))
        await consumer.until_settled(1)
        await groups.DiscardParkedEvents(pb.DiscardParkedEventsRequest(group="g", all=True))
        rest = await consumer.events(2)
        await consumer.quiet()

        # 2 was not acknowledged, and its lane was given anew.
        assert sorted(one.event.position for one in rest) == [2, 3]
        assert not consumer.deliveries


async def test_what_is_not_parked_is_neither_replayed_nor_discarded(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a"))
    replay = pb.ReplayParkedEventsRequest(group="g", positions=[1])
    discard = pb.DiscardParkedEventsRequest(group="g", positions=[1])

    errors = [
        await refusal(groups.ReplayParkedEvents(replay)),
        await refusal(groups.DiscardParkedEvents(discard)),
    ]

    assert [error.reason for error in errors] == ["PARKED_EVENT_NOT_FOUND"] * 2


async def test_status_tells_consumers_lag_and_what_waits(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "a", "b"))
    async with consuming(groups, name="worker") as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        later = pb.RetryLater(lane=0, token=taken[1].token, position=1, delay=timedelta(hours=1))
        await consumer.say(retry_later=later)
        await consumer.until_settled(1)
        state = await groups.GetGroup(pb.GetGroupRequest(group="g"))

    [one], [lane] = state.consumers, state.lanes
    assert (one.name, one.lane_count, lane.consumer) == ("worker", 1, one.consumer)
    assert (lane.position, lane.lag_count, lane.held_count) == (2, 1, 2)
    assert lane.HasField("oldest_recorded_at")


async def test_groups_are_listed_page_by_page(
    groups: "GroupServiceAsyncStub", create: Create
) -> None:
    for name in ("b", "a", "c"):
        await create(name)

    first = await groups.ListGroups(pb.ListGroupsRequest(page_size=2))
    second = await groups.ListGroups(
        pb.ListGroupsRequest(page_size=2, page_token=first.next_page_token)
    )

    assert [one.group for one in first.groups] == ["a", "b"]
    assert [one.group for one in second.groups] == ["c"]
    assert not second.next_page_token


async def test_groups_of_other_tenants_are_not_there(
    groups: "GroupServiceAsyncStub", create: Create, authority: Authority
) -> None:
    await create()
    metadata = authority.metadata("other")

    error = await refusal(groups.GetGroup(pb.GetGroupRequest(group="g"), metadata=metadata))
    listed = await groups.ListGroups(pb.ListGroupsRequest(), metadata=metadata)

    assert error.reason == "GROUP_NOT_FOUND"
    assert not listed.groups


async def test_events_that_are_gone_are_passed_over_also_when_they_were_held(
    events: "EventStoreServiceAsyncStub", groups: "GroupServiceAsyncStub", create: Create
) -> None:
    await create()
    await events.Append(append_of("a", "b"))
    async with consuming(groups) as consumer:
        taken = {one.event.position: one for one in await consumer.events(2)}
        later = pb.RetryLater(lane=0, token=taken[1].token, position=1, delay=timedelta(seconds=1))
        await consumer.say(retry_later=later)
        await consumer.acknowledge(taken[2])
        await consumer.until_settled(1, 2)
        await events.DeleteStream(keeping_pb2.DeleteStreamRequest(stream="a"))
        await events.Append(append_of("a"))
        delivered = await consumer.events(2)

    assert {one.event.event.stream for one in delivered} == {"$streams", "a"}
    assert 1 not in {one.event.position for one in delivered}
