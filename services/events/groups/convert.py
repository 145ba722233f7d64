"""Consumer groups between the wire and what they are."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from girih.events.v1 import events_pb2
from girih.events.v1 import groups_pb2 as pb
from girih.ids import NO_POSITION, Position, StreamName
from girih.rules import requests
from services.events import domain
from services.events.convert import event_filter
from services.events.groups import talk
from services.events.groups.administration import Start
from services.events.lanes.group import (
    DELAY_MAX_S,
    HELD_COUNT_MAX,
    LEASE_S,
    GroupName,
    GroupSettings,
    GroupState,
    GroupSummary,
    LaneState,
    ParkedEvent,
)
from services.events.matching.queries import Filter, Labels
from services.plumbing import validation
from services.plumbing.errors import InvalidInput, ServiceError, Violations
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.wire import field, field_head

LEASE_MIN: Final = timedelta(seconds=1)
LEASE_MAX: Final = timedelta(minutes=10)
_ZERO: Final = timedelta()
_DELIVERIES: Final = pb.ConsumeResponse.DELIVERIES_FIELD_NUMBER
_DELIVERY: Final = pb.Deliveries.DELIVERIES_FIELD_NUMBER
_EVENT: Final = pb.Delivery.EVENT_FIELD_NUMBER


# Groups


def settings(
    request: pb.CreateGroupRequest | pb.UpdateGroupRequest,
) -> GroupSettings:
    """What a group is to be. Raises `InvalidInput` with every bad field."""
    violations = Violations()
    validation.add_violations(request, violations)
    asked = request.settings
    if asked.HasField("filter"):
        requests.check_can_match(asked.filter.queries, "settings.filter", violations)
    if asked.HasField("lease") and not LEASE_MIN <= requests.duration(asked.lease) <= LEASE_MAX:
        violations.add("settings.lease", "must be from 1 s to 10 min")
    violations.raise_if_any()
    return GroupSettings(
        asked.lane_count,
        asked.key_tag_prefix,
        asked.filter.SerializeToString(deterministic=True) if asked.HasField("filter") else None,
        asked.attempt_count_max,
        asked.parking == pb.PARKING_POLICY_PASS,
        asked.held_count_max or HELD_COUNT_MAX,
        requests.duration(asked.lease).total_seconds() if asked.HasField("lease") else LEASE_S,
    )


def filter_of(stored: bytes | None) -> Filter | None:
    """The filter of `GroupSettings`."""
    if stored is None:
        return None
    return event_filter(events_pb2.Filter.FromString(stored))


def start(asked: pb.GroupStart, path: str) -> Start:
    """Where a group begins. Raises `InvalidInput`."""
    violations = Violations()
    if asked.HasField("time"):
        requests.check_time(asked.time, f"{path}.time", violations)
    violations.raise_if_any()
    if asked.HasField("time"):
        return asked.time.ToDatetime(tzinfo=UTC)
    return Position(asked.position) if asked.HasField("position") else None


def positions(
    request: pb.ReplayParkedEventsRequest | pb.DiscardParkedEventsRequest,
) -> Sequence[Position] | None:
    """Which parked events are meant, None for all. Raises `InvalidInput`."""
    validation.check(request)
    return None if request.all else [Position(one) for one in request.positions]


def group_response(name: GroupName, state: GroupState) -> pb.GetGroupResponse:
    """A group, as it is now."""
    group = state.group
    response = pb.GetGroupResponse(
        group=name,
        settings=_settings_message(group.settings),
        version=group.version,
        created_at=group.created_at,
        incarnation=max(state.lanes, key=lambda lane: lane.checkpoint).incarnation,
        head_position=state.head,
        lanes=[_lane_message(lane, state) for lane in state.lanes],
    )
    for consumer, called, actor, joined_at, lane_count in state.consumers:
        response.consumers.add(
            consumer=consumer, name=called, actor=actor, joined_at=joined_at, lane_count=lane_count
        )
    return response


def _settings_message(group: GroupSettings) -> pb.GroupSettings:
    message = pb.GroupSettings(
        lane_count=group.lane_count,
        key_tag_prefix=group.key_tag_prefix,
        attempt_count_max=group.attempt_count_max,
        parking=pb.PARKING_POLICY_PASS if group.passes_parked else pb.PARKING_POLICY_HOLD,
        held_count_max=group.held_count_max,
        lease=timedelta(seconds=group.lease_s),
    )
    if group.filter is not None:
        message.filter.ParseFromString(group.filter)
    return message


def _lane_message(lane: LaneState, state: GroupState) -> pb.GroupLane:
    recorded = [at for at in (lane.next_recorded_at, lane.held_recorded_at) if at is not None]
    since = lane.next_recorded_at
    return pb.GroupLane(
        lane=lane.lane,
        token=lane.token,
        consumer=lane.consumer,
        position=lane.checkpoint,
        lag_count=max(0, state.head - lane.checkpoint),
        lag=_ZERO if since is None else max(_ZERO, state.now - since),
        oldest_recorded_at=min(recorded, default=None),
        held_count=lane.held_count,
        parked_count=lane.parked_count,
    )


def groups_response(groups: Sequence[GroupSummary], count_max: int) -> pb.ListGroupsResponse:
    """A page, of one more than it has."""
    page = groups[: count_max - 1]
    response = pb.ListGroupsResponse()
    for name, lane_count, version, consumer_count, checkpoint, held, parked in page:
        response.groups.add(
            group=name,
            lane_count=lane_count,
            version=version,
            consumer_count=consumer_count,
            position=checkpoint,
            held_count=held,
            parked_count=parked,
        )
    if len(groups) == count_max:
        response.next_page_token = page[-1].name
    return response


def parked_response(events: Sequence[ParkedEvent], count_max: int) -> pb.ListParkedEventsResponse:
    """A page, of one more than it has."""
    page = events[: count_max - 1]
    response = pb.ListParkedEventsResponse()
    for position, key, reason, attempt_count, parked_at, waiting_count in page:
        response.events.add(
            position=position,
            key=key,
            reason=reason,
            attempt_count=attempt_count,
            parked_at=parked_at,
            waiting_count=waiting_count,
        )
    if len(events) == count_max:
        response.next_page_token = str(page[-1].position)
    return response


def page_count_max(requested: int) -> int:
    """How many to ask for: one more than a page has, which tells whether there is another."""
    return domain.page_size(requested) + 1


# Consuming


def first_request(request: pb.ConsumeRequest) -> talk.Start:
    """Who consumes what. Raises `InvalidInput`."""
    if request.WhichOneof("request") != "start":
        raise InvalidInput.of("start", "must come first")
    validation.check(request)
    asked = request.start
    return talk.Start(GroupName(asked.group), asked.name, asked.credits)


def request(message: pb.ConsumeRequest) -> talk.Request | talk.Refused:
    """What a consumer says, or what is wrong with it."""
    try:
        return _request(message)
    except ServiceError as error:
        return talk.Refused(Position(requests.named_position(message)), error)


def _request(message: pb.ConsumeRequest) -> talk.Request:
    validation.check(message)
    match message.WhichOneof("request"):
        case "acknowledge":
            acknowledged = message.acknowledge
            places = [Position(one) for one in acknowledged.positions]
            return talk.Acknowledge(acknowledged.lane, acknowledged.token, places)
        case "retry_later":
            retried = message.retry_later
            return talk.RetryLater(
                retried.lane,
                retried.token,
                Position(retried.position),
                _delay_s(retried.delay),
                retried.reason,
            )
        case "park":
            parked = message.park
            place = Position(parked.position)
            return talk.Park(parked.lane, parked.token, place, parked.reason)
        case "set_credits":
            return talk.SetCredits(message.set_credits.credits)
        case "alive":
            return talk.Alive(message.alive.number, message.alive.lanes_seen)
        case "start":
            return first_request(message)
    raise InvalidInput.of("request", "must say something")


def _delay_s(asked: Duration) -> float:
    delay_s = requests.duration(asked).total_seconds()
    if not 0.0 <= delay_s <= DELAY_MAX_S:
        raise InvalidInput.of("retry_later.delay", "must be from 0 to 30 days")
    return delay_s


def decode(response: bytes) -> talk.ReadBatch:
    """What a followed read answers. Takes some microseconds an event."""
    read = events_pb2.ReadResponse.FromString(response)
    events = [
        talk.ReadEvent(Position(one.position), _labels(one), one.SerializeToString())
        for one in read.events
    ]
    position = events[-1].position if events else _progress_of(read)
    return talk.ReadBatch(events, position, read.incarnation)


def _labels(one: events_pb2.RecordedEvent) -> Labels:
    event = one.event
    return Labels(StreamName(event.stream), event.type, event.tags, one.context.correlation_id)


def _progress_of(read: events_pb2.ReadResponse) -> Position:
    """How far a signal says that the log was looked through."""
    for name in ("checkpoint", "caught_up", "fell_behind", "heartbeat"):
        if read.HasField(name):
            signal: Message = getattr(read, name)
            return Position(signal.position)  # type: ignore[attr-defined]  # each has one
    return NO_POSITION


def response(answer: talk.Response, service_domain: str) -> bytes:
    """What a consumer is told, serialized."""
    if isinstance(answer, list):
        return _deliveries(answer)
    return _message(answer, service_domain).SerializeToString()


def _message(
    answer: talk.Started | talk.Settled | talk.Refused | talk.LanesHeld | talk.ServiceAlive,
    service_domain: str,
) -> pb.ConsumeResponse:
    match answer:
        case talk.Started(consumer, lease_s):
            lease = timedelta(seconds=lease_s)
            return pb.ConsumeResponse(started=pb.ConsumerStarted(consumer=consumer, lease=lease))
        case talk.Settled(places):
            return pb.ConsumeResponse(settled=pb.Settled(positions=places))
        case talk.Refused(position, error):
            refusal = grpc_errors.to_proto(error, service_domain, ())
            return pb.ConsumeResponse(refused=pb.Refused(position=position, refusal=refusal))
        case talk.LanesHeld(tokens):
            lanes = [pb.HeldLane(lane=lane, token=token) for lane, token in tokens.items()]
            return pb.ConsumeResponse(lanes=pb.LanesHeld(lanes=lanes))
        case talk.ServiceAlive(number, valid_s):
            valid = timedelta(seconds=valid_s)
            return pb.ConsumeResponse(alive=pb.ServiceAlive(number=number, valid=valid))


def _deliveries(delivered: talk.Deliveries) -> bytes:
    """Put together of records as they were read: copying them took half of the time."""
    deliveries = b"".join(
        [
            field(_DELIVERY, field_head(_EVENT, len(event)) + event + _about(lane, token, attempt))
            for lane, token, attempt, event in delivered
        ]
    )
    return field(_DELIVERIES, deliveries)


@lru_cache(maxsize=4_096)
def _about(lane: int, token: int, attempt: int) -> bytes:
    """What stands beside the event of a delivery. It recurs."""
    return pb.Delivery(lane=lane, token=token, attempt=attempt).SerializeToString()
