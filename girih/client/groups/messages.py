"""Values of groups to messages of the contract and back. Knows no call."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from girih.client.events import Query
from girih.client.groups.values import (
    Group,
    GroupConsumer,
    GroupLane,
    GroupSettings,
    GroupSummary,
    ParkedEvent,
    ParkingPolicy,
)
from girih.client.wire import event_filter
from girih.events.v1 import events_pb2
from girih.events.v1 import groups_pb2 as pb
from girih.ids import Position

PAGE_SIZE: Final = 1_000
"""The most that the contract gives."""
_SECONDS_MAX: Final = 315_576_000_000.0
"""The most that a duration can be; what is allowed of it the service knows."""

_PARKING: Final = {
    ParkingPolicy.HOLD: pb.PARKING_POLICY_HOLD,
    ParkingPolicy.PASS: pb.PARKING_POLICY_PASS,
}
_BY_NUMBER: Final = {
    pb.PARKING_POLICY_UNSPECIFIED: ParkingPolicy.HOLD,
    pb.PARKING_POLICY_HOLD: ParkingPolicy.HOLD,
    pb.PARKING_POLICY_PASS: ParkingPolicy.PASS,
}


def create_request(
    group: str, settings: GroupSettings, from_position: int | None, from_time: datetime | None
) -> pb.CreateGroupRequest:
    """Raises ValueError for two starts."""
    return pb.CreateGroupRequest(
        group=group, settings=_settings(settings), start=start(from_position, from_time)
    )


def update_request(
    group: str, settings: GroupSettings, expected_version: int | None
) -> pb.UpdateGroupRequest:
    version = _fitting("expected_version", expected_version or 0, 64)
    return pb.UpdateGroupRequest(
        group=group, settings=_settings(settings), expected_version=version
    )


def reset_request(
    group: str, from_position: int | None, from_time: datetime | None
) -> pb.ResetGroupRequest:
    """Raises ValueError for two starts."""
    where = start(from_position, from_time)
    return pb.ResetGroupRequest(group=group, start=pb.GroupStart() if where is None else where)


def replay_request(group: str, positions: Sequence[int] | None) -> pb.ReplayParkedEventsRequest:
    """All for None."""
    if positions is None:
        return pb.ReplayParkedEventsRequest(group=group, all=True)
    return pb.ReplayParkedEventsRequest(group=group, positions=_int64s("positions", positions))


def discard_request(group: str, positions: Sequence[int] | None) -> pb.DiscardParkedEventsRequest:
    """All for None."""
    if positions is None:
        return pb.DiscardParkedEventsRequest(group=group, all=True)
    return pb.DiscardParkedEventsRequest(group=group, positions=_int64s("positions", positions))


def consumer_start(group: str, name: str, credits_: int) -> pb.ConsumerStart:
    return pb.ConsumerStart(group=group, name=name, credits=_fitting("credits", credits_, 32))


def start(from_position: int | None, from_time: datetime | None) -> pb.GroupStart | None:
    """None for the beginning of the log."""
    if from_position is not None and from_time is not None:
        raise ValueError("from_position and from_time must not both be given")
    if from_time is not None and from_time.tzinfo is None:
        raise ValueError("from_time must have a time zone")
    if from_position is None and from_time is None:
        return None
    if from_position is not None:
        return pb.GroupStart(position=_fitting("from_position", from_position, 64))
    return pb.GroupStart(time=from_time)


def group(response: pb.GetGroupResponse) -> Group:
    return Group(
        group=response.group,
        settings=_settings_value(response.settings),
        version=response.version,
        created_at=response.created_at.ToDatetime(tzinfo=UTC),
        incarnation=response.incarnation,
        head=Position(response.head_position),
        consumers=tuple(map(_consumer, response.consumers)),
        lanes=tuple(map(_lane, response.lanes)),
    )


def summaries(response: pb.ListGroupsResponse) -> Iterable[GroupSummary]:
    return [
        GroupSummary(
            group=one.group,
            lane_count=one.lane_count,
            version=one.version,
            consumer_count=one.consumer_count,
            position=Position(one.position),
            held_count=one.held_count,
            parked_count=one.parked_count,
        )
        for one in response.groups
    ]


def parked_events(response: pb.ListParkedEventsResponse) -> Iterable[ParkedEvent]:
    return [
        ParkedEvent(
            position=Position(one.position),
            key=one.key,
            reason=one.reason,
            attempt_count=one.attempt_count,
            parked_at=one.parked_at.ToDatetime(tzinfo=UTC),
            waiting_count=one.waiting_count,
        )
        for one in response.events
    ]


def duration(seconds: float) -> Duration:
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made


def seconds(message: Duration) -> float:
    return message.ToNanoseconds() / 1e9


def _settings(settings: GroupSettings) -> pb.GroupSettings:
    if not abs(settings.lease_s) <= _SECONDS_MAX:
        raise ValueError("lease_s must be from 1 s to 10 minutes, in seconds")
    wanted = settings.filter
    is_filtered = isinstance(wanted, Query) or bool(wanted)
    return pb.GroupSettings(
        lane_count=_fitting("lane_count", settings.lane_count, 32),
        key_tag_prefix=settings.key_tag_prefix,
        filter=event_filter(wanted) if is_filtered else None,
        attempt_count_max=_fitting("attempt_count_max", settings.attempt_count_max, 32),
        parking=_PARKING[settings.parking],
        held_count_max=_fitting("held_count_max", settings.held_count_max, 32),
        lease=duration(settings.lease_s),
    )


def _int64s(name: str, values: Sequence[int]) -> Sequence[int]:
    return [_fitting(f"{name}[{index}]", value, 64) for index, value in enumerate(values)]


def _fitting(name: str, value: int, bits: int) -> int:
    """What the field of the contract has room for; what is allowed of it the service knows."""
    limit = 2 ** (bits - 1)
    if not -limit <= value < limit:
        raise ValueError(f"{name} must have no more than {bits} bits")
    return value


def _settings_value(message: pb.GroupSettings) -> GroupSettings:
    return GroupSettings(
        lane_count=message.lane_count,
        key_tag_prefix=message.key_tag_prefix,
        filter=tuple(map(_query, message.filter.queries)),
        attempt_count_max=message.attempt_count_max,
        parking=_BY_NUMBER[message.parking],
        held_count_max=message.held_count_max,
        lease_s=seconds(message.lease),
    )


def _query(message: events_pb2.Query) -> Query:
    return Query(
        types=tuple(message.types),
        tags=tuple(message.tags),
        stream_prefix=message.stream_prefix,
        category=message.category,
        correlation_id=message.correlation_id,
    )


def _consumer(message: pb.GroupConsumer) -> GroupConsumer:
    return GroupConsumer(
        consumer=message.consumer,
        name=message.name,
        actor=message.actor,
        joined_at=message.joined_at.ToDatetime(tzinfo=UTC),
        lane_count=message.lane_count,
    )


def _lane(message: pb.GroupLane) -> GroupLane:
    is_dated = message.HasField("oldest_recorded_at")
    return GroupLane(
        lane=message.lane,
        token=message.token,
        consumer=message.consumer,
        position=Position(message.position),
        lag_count=message.lag_count,
        lag_s=seconds(message.lag),
        oldest_recorded_at=message.oldest_recorded_at.ToDatetime(tzinfo=UTC) if is_dated else None,
        held_count=message.held_count,
        parked_count=message.parked_count,
    )
