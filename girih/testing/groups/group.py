"""A consumer group in memory: what it has not settled, who has its lanes, who is given what.

The plainest one: it keeps an item for each event that is not settled, and looks through all of them
whenever something is to be given. Whoever calls holds the lock of its log.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from girih.events.v1 import events_pb2
from girih.events.v1 import groups_pb2 as pb
from girih.testing.log import Log, is_meant
from girih.testing.refusals import Refused
from girih.testing.streams import left_of


@dataclass
class Item:
    """An event that is not settled."""

    event: events_pb2.RecordedEvent
    key: str
    attempt_count: int = 0
    """Attempts that did not end with an acknowledgement."""
    not_before: datetime | None = None
    """It is to be tried again then, not sooner."""
    reason: str = ""
    parked_at: datetime | None = None
    given_to: "Member | None" = None

    @property
    def position(self) -> int:
        return self.event.position


@dataclass(eq=False)
class Member:
    """Somebody who consumes."""

    consumer: str
    name: str
    actor: str
    joined_at: datetime
    credits: int
    """How many events it may have at once."""
    received_at_s: float
    """On the clock of `time.monotonic()`: leases do not go by the clock of a test."""
    outbox: list[pb.ConsumeResponse] = field(default_factory=list)
    """What it is to be told."""
    ended_by: Refused | None = None

    def send(self, **response: object) -> None:
        self.outbox.append(pb.ConsumeResponse(**response))  # type: ignore[arg-type]  # by name


@dataclass
class Lane:
    """A lane, and who has it."""

    token: int = 0
    member: Member | None = None


class Group:
    """One group of one log."""

    def __init__(self, log: Log, name: str, settings: pb.GroupSettings, first: int) -> None:
        """Its events are those from the position `first` on."""
        self.log = log
        self.name = name
        self.version = 1
        self.created_at = log.now()
        self.settings = settings
        self.members: list[Member] = []
        self.lanes = [Lane() for _ in range(settings.lane_count)]
        self._begin(first)

    def _begin(self, first: int) -> None:
        self.items: dict[int, Item] = {}
        """By position, in their order."""
        self._looked_at = first - 1
        self._settled: dict[str, int] = {}
        """The last position of each key that is settled."""
        self._first = first

    # Settings

    def update(self, settings: pb.GroupSettings) -> None:
        """A new filter counts for what each key has not got yet; what consumers have comes again
        when lanes or filter change."""
        is_cut = (settings.lane_count, settings.filter) != (
            self.settings.lane_count,
            self.settings.filter,
        )
        self.settings = settings
        self.version += 1
        if is_cut:
            before, self.items, self._looked_at = self.items, {}, self._first - 1
            self.look()
            parked = {at: item for at, item in before.items() if item.parked_at is not None}
            kept = {at: before.get(at, item) for at, item in self.items.items()} | parked
            self.items = {at: kept[at] for at in sorted(kept)}
            for item in self.items.values():
                item.given_to = None
            token = max(lane.token for lane in self.lanes)
            self.lanes = [Lane(token) for _ in range(settings.lane_count)]
            self._share()

    def reset(self, first: int) -> None:
        """What was held back and parked is forgotten."""
        self._begin(first)
        for lane in self.lanes:
            lane.member = None
        self._share()

    # Members

    def join(self, member: Member) -> None:
        self.members.append(member)
        self._share()

    def leave(self, member: Member, *, is_broken: bool) -> None:
        """Its lanes are free at once. When the connection broke, that may have been because of the
        oldest event that it had."""
        if member not in self.members:
            return
        self.members.remove(member)
        given = [item for item in self.items.values() if item.given_to is member]
        if is_broken and given:
            self._fail(given[0], "the connection of its consumer broke", self.log.now())
        self._share()

    def _share(self) -> None:
        """Lanes in turn to members, each under a larger token where it goes to another."""
        count = len(self.members)
        for number, lane in enumerate(self.lanes):
            member = self.members[number % count] if count else None
            if lane.member is not member:
                lane.member = member
                lane.token += 1
        for item in self.items.values():
            if item.given_to is not self.lane_of(item.key).member:
                item.given_to = None
        for member in self.members:
            held = [
                pb.HeldLane(lane=number, token=lane.token)
                for number, lane in enumerate(self.lanes)
                if lane.member is member
            ]
            member.send(lanes=pb.LanesHeld(lanes=held))
        self.log.changed.notify_all()

    # Events

    def look(self) -> None:
        """Take up what came to the log."""
        for event in self.log.events[max(0, self._looked_at) :]:
            self._looked_at = event.position
            key = self._key(event)
            if self._wants(event) and event.position > self._settled.get(key, 0):
                self.items[event.position] = Item(event, key)

    def give(self, member: Member) -> list[pb.Delivery]:
        """What the member is given now."""
        self.look()
        now = self.log.now()
        left = member.credits - sum(item.given_to is member for item in self.items.values())
        given = []
        for item in list(self._ready(now)):
            lane = self.lane_of(item.key)
            if lane.member is not member:
                continue
            if self.log.hides(item.event, now) or not self._wants(item.event):
                self._settle(item)
                continue
            if left <= 0:
                break
            left -= 1
            item.given_to = member
            given.append(self._delivery(item, lane, now))
        return given

    def _wants(self, event: events_pb2.RecordedEvent) -> bool:
        """What was parked may be from before the group had its filter."""
        return not self.settings.HasField("filter") or is_meant(event, self.settings.filter)

    def _delivery(self, item: Item, lane: Lane, now: datetime) -> pb.Delivery:
        return pb.Delivery(
            event=left_of(item.event, self.log.gone(item.event, now)),
            lane=self._lane_number(item.key),
            token=lane.token,
            attempt=item.attempt_count + 1,
        )

    def next_at(self) -> datetime | None:
        """When the next event is to be tried again."""
        now = self.log.now()
        times = [one.not_before for one in self.items.values() if one.not_before is not None]
        return min((time for time in times if time > now), default=None)

    def acknowledge(self, member: Member, request: pb.Acknowledge) -> None:
        done = []
        for position in request.positions:
            item = self._given(member, request.lane, request.token, position)
            if item is not None:
                self._settle(item)
                done.append(position)
        if done:
            member.send(settled=pb.Settled(positions=done))

    def retry(self, member: Member, request: pb.RetryLater) -> None:
        item = self._given(member, request.lane, request.token, request.position)
        if item is not None:
            self._fail(item, request.reason, self.log.now() + request.delay.ToTimedelta())
            member.send(settled=pb.Settled(positions=[request.position]))

    def park(self, member: Member, request: pb.Park) -> None:
        item = self._given(member, request.lane, request.token, request.position)
        if item is not None:
            item.attempt_count += 1
            self._park(item, request.reason)
            member.send(settled=pb.Settled(positions=[request.position]))

    # What is parked

    def parked(self) -> list[Item]:
        return [item for item in self.items.values() if item.parked_at is not None]

    def replay(self, positions: Sequence[int] | None) -> int:
        """None for all."""
        items = self._parked_at(positions)
        for item in items:
            item.parked_at, item.attempt_count, item.reason = None, 0, ""
        self.log.changed.notify_all()
        return len(items)

    def discard(self, positions: Sequence[int] | None) -> int:
        """None for all."""
        items = self._parked_at(positions)
        for item in items:
            self._settle(item)
        return len(items)

    def waiting(self, item: Item) -> int:
        """How many events of its key wait behind it."""
        return sum(
            other.key == item.key and other.position > item.position
            for other in self.items.values()
        )

    def lane_of(self, key: str) -> Lane:
        return self.lanes[self._lane_number(key)]

    def describe(self, number: int) -> pb.GroupLane:
        """How far a lane is."""
        self.look()
        now, lane = self.log.now(), self.lanes[number]
        items = [one for one in self.items.values() if self._lane_number(one.key) == number]
        ready = {item.position for item in self._ready(now)}
        held = [one for one in items if one.position not in ready and one.given_to is None]
        parked = [one for one in items if one.parked_at is not None]
        first = min((one.position for one in items if one not in held), default=self.log.head + 1)
        described = pb.GroupLane(
            lane=number,
            token=lane.token,
            consumer=lane.member.consumer if lane.member else "",
            position=first - 1,
            lag_count=self.log.head - (first - 1),
            held_count=len([one for one in held if one.parked_at is None]),
            parked_count=len(parked),
        )
        described.lag.SetInParent()
        unsettled = [one.position for one in items] + ([first] if first <= self.log.head else [])
        if first <= self.log.head:
            recorded_at = self.log.events[first - 1].recorded_at.ToDatetime(tzinfo=UTC)
            described.lag.FromTimedelta(now - recorded_at)
        if unsettled:
            oldest = self.log.events[min(unsettled) - 1]
            described.oldest_recorded_at.CopyFrom(oldest.recorded_at)
        return described

    def _ready(self, now: datetime) -> Iterator[Item]:
        """What may be given: the first of each key, unless it waits or is parked; nothing more of a
        lane of which as many wait as may.
        """
        passes = self.settings.parking == pb.PARKING_POLICY_PASS
        blocked: set[str] = set()
        held_keys: set[str] = set()
        held_counts = [0] * len(self.lanes)
        for item in self.items.values():
            lane = self._lane_number(item.key)
            is_tried = item.attempt_count > 0 or item.parked_at is not None
            if not is_tried and held_counts[lane] >= self.settings.held_count_max:
                continue
            is_passed = item.parked_at is not None and passes
            if is_tried and not is_passed:
                held_keys.add(item.key)
            held_counts[lane] += is_passed or item.key in held_keys
            if is_passed or item.key in blocked:
                continue
            blocked.add(item.key)
            waits = item.not_before is not None and item.not_before > now
            if not waits and item.parked_at is None and item.given_to is None:
                yield item

    def _given(self, member: Member, number: int, token: int, position: int) -> Item | None:
        """The event that a member says something of; it is told when it may not."""
        lane = self.lanes[number] if 0 <= number < len(self.lanes) else Lane()
        item = self.items.get(position)
        if lane.member is not member or lane.token != token:
            refused = Refused("LEASE_LOST", "the lane is not the consumer's under that token")
        elif item is None or item.given_to is not member:
            refused = Refused("EVENT_NOT_DELIVERED", "the consumer does not have the event")
        else:
            return item
        member.send(refused=pb.Refused(position=position, refusal=refused.status()))
        return None

    def _settle(self, item: Item) -> None:
        del self.items[item.position]
        self._settled[item.key] = max(self._settled.get(item.key, 0), item.position)
        self.log.changed.notify_all()

    def _fail(self, item: Item, reason: str, not_before: datetime) -> None:
        item.given_to, item.not_before, item.reason = None, not_before, reason
        item.attempt_count += 1
        most = self.settings.attempt_count_max
        if most and item.attempt_count >= most:
            self._park(item, reason)
        self.log.changed.notify_all()

    def _park(self, item: Item, reason: str) -> None:
        item.given_to, item.not_before = None, None
        item.parked_at, item.reason = self.log.now(), reason
        self.log.changed.notify_all()

    def _parked_at(self, positions: Sequence[int] | None) -> list[Item]:
        parked = {item.position: item for item in self.parked()}
        if positions is None:
            return list(parked.values())
        if missing := [one for one in positions if one not in parked]:
            message = f"no event is parked at position {missing[0]}"
            raise Refused("PARKED_EVENT_NOT_FOUND", message, {"position": missing[0]})
        return [parked[one] for one in positions]

    def _key(self, event: events_pb2.RecordedEvent) -> str:
        """The first tag with the prefix, as bytes compare, or the stream."""
        prefix = self.settings.key_tag_prefix
        tags: Iterable[str] = event.event.tags if prefix else ()
        return min((tag for tag in tags if tag.startswith(prefix)), key=str.encode, default="") or (
            event.event.stream
        )

    def _lane_number(self, key: str) -> int:
        return zlib.crc32(key.encode()) % len(self.lanes)
