"""The rpcs of `GroupService` on logs in memory."""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from typing import Final

from girih.events.v1 import groups_pb2 as pb
from girih.ids import new_correlation_id
from girih.rules import requests as rules
from girih.rules.checking import add_violations
from girih.rules.violations import Violations
from girih.testing.calls import Call, TooLarge, check
from girih.testing.groups.group import Group, Member
from girih.testing.log import Log
from girih.testing.refusals import Refused, refuse_if_any
from girih.testing.servicers.events import LogOf, page_size

_HELD_COUNT_MAX: Final = 10_000
_LEASE: Final = timedelta(seconds=10)
_LEASE_MIN: Final = timedelta(seconds=1)
_LEASE_MAX: Final = timedelta(minutes=10)
_DELAY_MAX: Final = timedelta(days=30)


class GroupServicer:
    """The groups of the calling tenant."""

    def __init__(self, log_of: LogOf) -> None:
        self._log_of = log_of
        self._groups: dict[str, dict[str, Group]] = {}
        """By tenant and name."""

    def CreateGroup(self, request: pb.CreateGroupRequest, call: Call) -> pb.CreateGroupResponse:
        settings = _settings(request)
        log, groups = self._of(call)
        with log.changed:
            known = groups.get(request.group)
            if known is not None:
                if known.settings != settings:
                    message = f"the group {request.group} has other settings"
                    raise Refused("GROUP_EXISTS", message, {"group": request.group})
                return pb.CreateGroupResponse(version=known.version, already_exists=True)
            groups[request.group] = Group(log, request.group, settings, _first(log, request.start))
            return pb.CreateGroupResponse(version=1)

    def UpdateGroup(self, request: pb.UpdateGroupRequest, call: Call) -> pb.UpdateGroupResponse:
        settings = _settings(request)
        log, groups = self._of(call)
        with log.changed:
            group = _named(groups, request.group)
            if request.expected_version not in (0, group.version):
                message = f"the settings are version {group.version}"
                raise Refused("GROUP_CHANGED", message, {"actual_version": group.version})
            if settings.key_tag_prefix != group.settings.key_tag_prefix:
                raise Refused("GROUP_KEY_FIXED", "key_tag_prefix cannot be changed")
            if settings != group.settings:
                group.update(settings)
            return pb.UpdateGroupResponse(version=group.version)

    def GetGroup(self, request: pb.GetGroupRequest, call: Call) -> pb.GetGroupResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            group = _named(groups, request.group)
            response = pb.GetGroupResponse(
                group=group.name,
                settings=group.settings,
                version=group.version,
                created_at=group.created_at,
                incarnation=log.incarnation,
                head_position=log.head,
                lanes=[group.describe(number) for number in range(len(group.lanes))],
            )
            for member in sorted(group.members, key=lambda one: one.consumer):
                response.consumers.add(
                    consumer=member.consumer,
                    name=member.name,
                    actor=member.actor,
                    joined_at=member.joined_at,
                    lane_count=sum(lane.member is member for lane in group.lanes),
                )
            return response

    def ListGroups(self, request: pb.ListGroupsRequest, call: Call) -> pb.ListGroupsResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            names = sorted(name for name in groups if name > request.page_token)
            size = page_size(request.page_size)
            response = pb.ListGroupsResponse(groups=[_summary(groups[one]) for one in names[:size]])
            if len(names) > size:
                response.next_page_token = names[size - 1]
            return response

    def DeleteGroup(self, request: pb.DeleteGroupRequest, call: Call) -> pb.DeleteGroupResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            group = groups.pop(request.group, None)
            for member in group.members if group is not None else ():
                member.ended_by = _not_found(request.group)
            log.changed.notify_all()
        return pb.DeleteGroupResponse()

    def ResetGroup(self, request: pb.ResetGroupRequest, call: Call) -> pb.ResetGroupResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            group, first = _named(groups, request.group), _first(log, request.start)
            group.reset(first)
            return pb.ResetGroupResponse(position=first)

    def ListParkedEvents(
        self, request: pb.ListParkedEventsRequest, call: Call
    ) -> pb.ListParkedEventsResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            group = _named(groups, request.group)
            behind = int(request.page_token or 0)
            parked = [item for item in group.parked() if item.position > behind]
            size = page_size(request.page_size)
            response = pb.ListParkedEventsResponse()
            for item in parked[:size]:
                response.events.add(
                    position=item.position,
                    key=item.key,
                    reason=item.reason,
                    attempt_count=item.attempt_count,
                    parked_at=item.parked_at,
                    waiting_count=group.waiting(item),
                )
            if len(parked) > size:
                response.next_page_token = str(parked[size - 1].position)
            return response

    def ReplayParkedEvents(
        self, request: pb.ReplayParkedEventsRequest, call: Call
    ) -> pb.ReplayParkedEventsResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            count = _named(groups, request.group).replay(_meant(request))
        return pb.ReplayParkedEventsResponse(event_count=count)

    def DiscardParkedEvents(
        self, request: pb.DiscardParkedEventsRequest, call: Call
    ) -> pb.DiscardParkedEventsResponse:
        check(request)
        log, groups = self._of(call)
        with log.changed:
            count = _named(groups, request.group).discard(_meant(request))
        return pb.DiscardParkedEventsResponse(event_count=count)

    def Consume(
        self, requests: Iterator[pb.ConsumeRequest | TooLarge], call: Call
    ) -> Iterator[pb.ConsumeResponse]:
        start = _start(next(requests, None))
        log, groups = self._of(call)
        with log.changed:
            group = _named(groups, start.group)
            now = log.now()
            consumer = new_correlation_id()
            received_at_s = time.monotonic()
            member = Member(consumer, start.name, call.actor, now, start.credits, received_at_s)
            lease = group.settings.lease
            member.send(started=pb.ConsumerStarted(consumer=member.consumer, lease=lease))
            group.join(member)
        consuming = _Consuming(log, group, member, call)
        threading.Thread(
            target=consuming.receive, args=(requests,), name="girih memory consumer", daemon=True
        ).start()
        return consuming.responses()

    def _of(self, call: Call) -> tuple[Log, dict[str, Group]]:
        log = self._log_of(call.tenant)
        with log.changed:
            return log, self._groups.setdefault(call.tenant, {})


class _Consuming:
    """A call of `Consume`: what it hears, and what it tells."""

    def __init__(self, log: Log, group: Group, member: Member, call: Call) -> None:
        self._log = log
        self._group = group
        self._member = member
        self._call = call
        self._has_left = False
        call.on_end(self._wake)

    def receive(self, requests: Iterator[pb.ConsumeRequest | TooLarge]) -> None:
        """Until the requests end, in a thread of its own."""
        try:
            for request in requests:
                with self._log.changed:
                    self._member.received_at_s = time.monotonic()
                    self._take(request)
                    self._log.changed.notify_all()
        except Refused as refused:
            self._member.ended_by = refused
        except Exception:  # noqa: BLE001, S110 - gRPC says so that the call has ended
            pass
        else:
            self._has_left = True
        self._wake()

    def responses(self) -> Iterator[pb.ConsumeResponse]:
        try:
            while True:
                with self._log.changed:
                    if not self._call.is_active():
                        return
                    outgoing = self._outgoing()
                    if not outgoing:
                        self._check()
                        if self._has_left:
                            return
                        self._log.changed.wait(self._wait_s())
                yield from outgoing
        finally:
            with self._log.changed:
                has_left = self._has_left and self._call.is_active()
                self._group.leave(self._member, is_broken=not has_left)

    def _take(self, request: pb.ConsumeRequest | TooLarge) -> None:
        if isinstance(request, TooLarge):
            raise request.refusal
        member, group = self._member, self._group
        try:
            _check_request(request)
        except Refused as refused:
            position = rules.named_position(request)
            member.send(refused=pb.Refused(position=position, refusal=refused.status()))
            return
        match request.WhichOneof("request"):
            case "acknowledge":
                group.acknowledge(member, request.acknowledge)
            case "retry_later":
                group.retry(member, request.retry_later)
            case "park":
                group.park(member, request.park)
            case "set_credits":
                member.credits = request.set_credits.credits
            case "alive":
                valid = group.settings.lease
                member.send(alive=pb.ServiceAlive(number=request.alive.number, valid=valid))

    def _outgoing(self) -> list[pb.ConsumeResponse]:
        """What the member is to be told, and given."""
        outgoing, self._member.outbox = self._member.outbox, []
        is_leaving = self._has_left or self._member.ended_by is not None
        if not is_leaving and (given := self._group.give(self._member)):
            # What it lost and was told just now comes before.
            outgoing += self._member.outbox
            self._member.outbox = []
            outgoing.append(pb.ConsumeResponse(deliveries=pb.Deliveries(deliveries=given)))
        return outgoing

    def _check(self) -> None:
        """Raise what ends the call."""
        self._call.check_valid()
        if self._member.ended_by is not None:
            raise self._member.ended_by
        if not self._has_left and self._silent_in_s() <= 0.0:
            raise Refused(
                "CONSUMER_SILENT",
                "the consumer was not heard for as long as the lease",
                retry_after_s=0.0,
            )

    def _wait_s(self) -> float:
        next_at = self._group.next_at()
        waits = [self._silent_in_s()]
        if next_at is not None:
            waits.append((next_at - self._log.now()).total_seconds())
        return max(0.01, min(waits))

    def _silent_in_s(self) -> float:
        lease_s = self._group.settings.lease.ToTimedelta().total_seconds()
        return self._member.received_at_s + lease_s - time.monotonic()

    def _wake(self) -> None:
        with self._log.changed:
            self._log.changed.notify_all()


def _start(request: pb.ConsumeRequest | TooLarge | None) -> pb.ConsumerStart:
    if isinstance(request, TooLarge):
        raise request.refusal
    violations = Violations()
    if request is None or not request.HasField("start"):
        violations.add("start", "must be given, and first")
        refuse_if_any(violations)
    assert request is not None
    check(request)
    return request.start


def _meant(
    request: pb.ReplayParkedEventsRequest | pb.DiscardParkedEventsRequest,
) -> Sequence[int] | None:
    """Which parked events, None for all."""
    return None if request.all else request.positions


def _check_request(request: pb.ConsumeRequest) -> None:
    check(request)
    violations = Violations()
    if request.HasField("start"):
        violations.add("start", "must come first, and once")
    delay = request.retry_later.delay
    if not timedelta(0) <= rules.duration(delay) <= _DELAY_MAX:
        violations.add("retry_later.delay", "must be from 0 s to 30 days")
    refuse_if_any(violations)


def _settings(request: pb.CreateGroupRequest | pb.UpdateGroupRequest) -> pb.GroupSettings:
    """As a group has them: what may be left out is there."""
    violations = Violations()
    add_violations(request, violations)
    settings = pb.GroupSettings()
    settings.CopyFrom(request.settings)
    rules.check_can_match(settings.filter.queries, "settings.filter", violations)
    if not settings.HasField("lease"):
        settings.lease.FromTimedelta(_LEASE)
    if not _LEASE_MIN <= rules.duration(settings.lease) <= _LEASE_MAX:
        violations.add("settings.lease", "must be from 1 s to 10 min")
    refuse_if_any(violations)
    settings.held_count_max = settings.held_count_max or _HELD_COUNT_MAX
    settings.parking = settings.parking or pb.PARKING_POLICY_HOLD
    return settings


def _first(log: Log, start: pb.GroupStart) -> int:
    """The position that a group begins with."""
    if start.HasField("time"):
        return log.position_at(start.time.ToDatetime(tzinfo=UTC))
    if start.position > log.head + 1:
        message = f"the log ends at position {log.head}"
        raise Refused("BEYOND_END", message, {"head_position": log.head})
    return start.position or 1


def _named(groups: dict[str, Group], name: str) -> Group:
    group = groups.get(name)
    if group is None:
        raise _not_found(name)
    return group


def _not_found(name: str) -> Refused:
    return Refused("GROUP_NOT_FOUND", f"the group {name} does not exist", {"group": name})


def _summary(group: Group) -> pb.GroupSummary:
    lanes = [group.describe(number) for number in range(len(group.lanes))]
    return pb.GroupSummary(
        group=group.name,
        lane_count=len(lanes),
        version=group.version,
        consumer_count=len(group.members),
        position=min(lane.position for lane in lanes),
        held_count=sum(lane.held_count for lane in lanes),
        parked_count=sum(lane.parked_count for lane in lanes),
    )
