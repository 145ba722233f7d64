"""One consumer of a group: leads lanes for as long as its call lasts. Knows no storage and no wire.

Each consumer works out by itself how many lanes are its own, from how many consumers there are and
where it stands among them: who has too many gives some up when nobody has an event of them any
more, who has too few takes what is free. So nobody decides for the others.

Nothing is delivered of a lane whose lease may have run out by the clock of this process, and
nothing is settled whose lease has run out by the clock of the database.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from girih.backoff import Backoff
from girih.ids import NO_POSITION, Position
from services.events.errors import (
    ConsumersFull,
    ConsumerSilent,
    EventNotDelivered,
    GroupNotFound,
)
from services.events.groups.consumers import Consumers
from services.events.groups.reading import Decode, LaneReader, Wanted
from services.events.groups.readings import Readings
from services.events.groups.settling import Settlements
from services.events.groups.talk import (
    Acknowledge,
    Alive,
    Delivered,
    Deliveries,
    LanesHeld,
    Park,
    Refused,
    Request,
    Response,
    RetryLater,
    ServiceAlive,
    SetCredits,
    Settled,
    Start,
    Started,
)
from services.events.lanes.group import Beat, ClaimedLane, HeldEvent, LaneChange, StoredGroup
from services.events.lanes.lane import Lane
from services.events.lanes.store import ConsumerId, LaneStore
from services.events.matching.queries import Filter, Labels
from services.events.reading.reader import Reader, ReadOptions
from services.events.reading.send_budget import ByteReservation, SendBudget
from services.events.store import EventStore
from services.plumbing.errors import (
    InvalidInput,
    ResourceExhausted,
    ShuttingDown,
    Unavailable,
)
from services.plumbing.logging import get_logger
from services.plumbing.postgres.leases import RENEWALS, LeaseLost
from services.plumbing.tasks import set_within

DELIVERED_AT_ONCE_MAX: Final = 100
"""Events of one response."""
RESPONSE_BYTES_MAX: Final = 2**17
"""Of one response, but for its last event."""
FETCHED_COUNT_MAX: Final = 32
"""Held events of a lane that are here at once."""
FETCHED_BYTES_MAX: Final = 2**20
"""Of the held events of a consumer, but for those that are fetched together."""
FETCHES_MAX: Final = 2
"""Of held events at once: each takes a connection for a moment, and may bring some MiB."""
UNSENT_COUNT_MAX: Final = 1_000
"""What waits to be told; then the consumer is not listened to."""
PROGRESS_S: Final = 1.0
"""So often it is written how far lanes are of which nothing is said."""
BROKEN_S: Final = 0.05
"""So long after the last request a call may turn out to be broken."""
TURN_S: Final = 1.0
"""So long who leaves waits for its last statement."""
SPACING_S: Final = 0.05
"""Between two looks at who else is there."""

_AWAY = (Unavailable, ResourceExhausted)
_WENT = "the consumer went away"

_log = get_logger("groups")


class ConsumeInstruments(Protocol):
    """Who counts what consumers do."""

    def joined(self, consumer: "Consumer") -> None:
        """It consumes from now on."""

    def left(self, consumer: "Consumer") -> None:
        """It does not any more."""

    def leading(self, lane_count: int) -> None:
        """So many lanes more are led here; fewer when negative."""

    def delivered(self, event_count: int) -> None:
        """So many events were delivered."""

    def settled(self, outcome: str, event_count: int) -> None:
        """So many events were acknowledged, retried or parked."""

    def lost(self) -> None:
        """A lane was lost that was not given up."""

    def written(self, event_count: int, duration_s: float) -> None:
        """What was said of so many events was made durable by one commit."""


@dataclass(frozen=True)
class Parts:
    """What all consumers of a process work with."""

    lanes: LaneStore
    settlements: Settlements
    store: EventStore
    reader: Reader
    readings: Readings
    send_budget: SendBudget
    decode: Decode
    encode: Callable[[Any], bytes]
    """Makes a response of what a reader fetched."""
    filter_of: Callable[[bytes | None], Filter | None]
    consumers: Consumers
    instruments: ConsumeInstruments
    stopping: asyncio.Event
    """Set when calls that would go on for ever are to end."""


class Consumer:
    """A consumer, from the first request of its call to the last response."""

    def __init__(self, who: ConsumerId, parts: Parts) -> None:
        self._who = who
        self._parts = parts
        self._credits = 0
        self._group: StoredGroup | None = None
        self._wanted: Filter | None = None
        self._reader: LaneReader | None = None
        """Of the lanes as the group is now; nobody reads for those that it had before."""
        self._lanes: dict[int, Lane] = {}
        self._valid_until_s: dict[int, float] = {}
        """When the lease of each lane may have run out, by `time.monotonic`."""
        self._claiming_since_s: float | None = None
        """Since when lanes are asked for: a lease may have begun that is not known of yet."""
        self._tokens: dict[int, int] = {}
        """The last that each lane was led under here."""
        self._fetched: dict[Position, tuple[Lane, ByteReservation]] = {}
        """What held events take that are here, until they are settled."""
        self._delivered: OrderedDict[Position, Lane] = OrderedDict()
        """What the consumer has, the longest first."""
        self._unsent: deque[Response] = deque()
        self._received_at_s = time.monotonic()
        self._promised_until_s = 0.0
        """Until then it was told that its lanes are its own."""
        self._lanes_sent = 0
        """How often it was told which lanes it has."""
        self._lanes_seen = 0
        self._wrote_progress_s = self._received_at_s
        self._is_leaving = False
        self._has_joined = False
        self._has_left = False
        """It left in peace, and has not just vanished."""
        self._failure: BaseException | None = None
        self._turn = asyncio.Lock()
        """One statement at a time: two that write the same lanes could wait for each other."""
        self._woken = asyncio.Event()
        self._is_drained = asyncio.Event()
        self._unwritten = asyncio.Event()
        self._changed = asyncio.Event()
        self._held = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def responses(
        self, start: Start, requests: AsyncIterator[Request | Refused]
    ) -> AsyncGenerator[Response, None]:
        """What the consumer is told, until it leaves. Close it.

        A request that makes no sense comes as the refusal that says so. Raises `GroupNotFound`,
        `ConsumersFull`, `ConsumerSilent`, `LogReplaced`, and what ends a followed read.
        """
        self._credits = start.credits
        await self._load()
        self._parts.instruments.joined(self)
        self._parts.consumers.add(self._who.tenant, self._who.group, self._changed.set)
        try:
            yield Started(self._who.consumer, self._lease_s)
            self._changed.set()
            for work in (self._receive(requests), self._keep(), self._settle(), self._fetch_due()):
                self._start(work)
            self._start(self._end_with_process())
            while (response := await self._next()) is not None:
                yield response
        finally:
            await self._stop()
            self._parts.consumers.remove(self._who.tenant, self._who.group, self._changed.set)
            self._parts.instruments.left(self)
            self._parts.consumers.leave(self._leave())

    @property
    def waiting_count(self) -> int:
        """Events that were read for the consumer and are not settled. Also for other threads."""
        return sum(lane.waiting_count for lane in list(self._lanes.values()))

    # What is told

    async def _next(self) -> Response | None:
        """The next response, None when the consumer has left."""
        while True:
            if self._unsent:
                self._is_drained.set()
                return self._unsent.popleft()
            if self._failure is not None:
                raise self._failure
            if self._is_leaving and not any(lane.has_changes for lane in self._lanes.values()):
                self._has_left = True
                return None
            if not self._is_leaving and (deliveries := self._deliveries()):
                return deliveries
            self._woken.clear()
            await self._woken.wait()

    def _deliveries(self) -> Deliveries:
        """Events that may go out now, some of each lane."""
        room = min(self._credits - len(self._delivered), DELIVERED_AT_ONCE_MAX)
        deliveries: list[Delivered] = []
        byte_count = 0
        for lane in self._in_turn():
            if len(deliveries) >= room or byte_count >= RESPONSE_BYTES_MAX:
                break
            entry = lane.deliver()
            if entry is None:
                continue
            self._delivered[entry.position] = lane
            byte_count += len(entry.event)
            deliveries.append(
                Delivered(lane.number, lane.token, entry.attempt_count + 1, entry.event)
            )
        self._parts.instruments.delivered(len(deliveries))
        return deliveries

    def _in_turn(self) -> Iterator[Lane]:
        """The lanes that are led for certain and have something, again and again."""
        valid = [lane for lane in self._lanes.values() if self._is_valid(lane.number)]
        while ready := [lane for lane in valid if lane.has_ready]:
            yield from ready

    def _send(self, response: Response) -> None:
        self._unsent.append(response)
        self._woken.set()

    def _send_lanes(self) -> None:
        self._lanes_sent += 1
        self._send(LanesHeld({lane.number: lane.token for lane in self._lanes.values()}))

    # What is heard

    async def _receive(self, requests: AsyncIterator[Request | Refused]) -> None:
        async for request in requests:
            self._received_at_s = time.monotonic()
            self._take(request)
            self._woken.set()
            while len(self._unsent) >= UNSENT_COUNT_MAX:
                self._is_drained.clear()
                await self._is_drained.wait()
        # The end of a broken call looks the same until gRPC tells, a moment later.
        await asyncio.sleep(BROKEN_S)
        self._is_leaving = True
        self._unwritten.set()
        self._woken.set()

    def _take(self, request: Request | Refused) -> None:
        match request:
            case Acknowledge(number, token, positions):
                for position in positions:
                    self._settle_event("acknowledged", number, token, position, Lane.acknowledge)
            case RetryLater(number, token, position, delay_s, reason):

                def retry(lane: Lane, position: Position) -> None:
                    lane.retry_later(position, time.monotonic(), delay_s, reason)

                self._settle_event("retried", number, token, position, retry)
                self._held.set()
            case Park(number, token, position, reason):
                self._settle_event(
                    "parked", number, token, position, lambda lane, at: lane.park(at, reason)
                )
            case SetCredits(credits):
                self._credits = credits
            case Alive(number, lanes_seen):
                self._confirm(lanes_seen)
                self._promise(number)
            case Start():
                error = InvalidInput.of("start", "must come first, and only then")
                self._send(Refused(NO_POSITION, error))
            case Refused():
                self._send(request)

    def _settle_event(
        self,
        outcome: str,
        number: int,
        token: int,
        position: Position,
        what: Callable[[Lane, Position], None],
    ) -> None:
        """Have a lane do with a delivered event what the consumer says, or refuse it."""
        try:
            what(self._led(number, token, position), position)
        except (LeaseLost, EventNotDelivered) as error:
            self._send(Refused(position, error))
            return
        self._delivered.pop(position, None)
        self._parts.instruments.settled(outcome, 1)
        self._unwritten.set()

    def _led(self, number: int, token: int, position: Position) -> Lane:
        lane = self._lanes.get(number)
        if token > self._tokens.get(number, 0) or token < 1:
            raise EventNotDelivered(
                f"the event at position {position} was not delivered to this consumer under"
                f" token {token}",
                position=position,
                lane=number,
            )
        if lane is None or lane.token != token or not self._is_valid(number):
            raise _lost(number, token, position)
        return lane

    def _confirm(self, lanes_seen: int) -> None:
        """It has taken note of which lanes it has, so often."""
        was_behind = not self._is_up_to_date
        self._lanes_seen = max(self._lanes_seen, lanes_seen)
        if was_behind and self._is_up_to_date:
            self._changed.set()  # others may wait for that

    def _promise(self, number: int) -> None:
        """Answer a sign of life with how long its lanes are its own."""
        valid_s = self._valid_s()
        until_s = time.monotonic() + valid_s
        self._promised_until_s = max(self._promised_until_s, until_s)
        self._send(ServiceAlive(number, valid_s))

    def _valid_s(self) -> float:
        """For how long all lanes are its own, those that it may be given next among them."""
        now_s = time.monotonic()
        since_s = now_s if self._claiming_since_s is None else self._claiming_since_s
        until_s = min([since_s + self._lease_s, *self._valid_until_s.values()])
        return max(0.0, until_s - now_s)

    @property
    def _is_up_to_date(self) -> bool:
        return self._lanes_seen >= self._lanes_sent

    @property
    def _silent_at_s(self) -> float:
        """When it counts as gone: no sooner than it was told, when leases become shorter."""
        return max(self._received_at_s + self._lease_s, self._promised_until_s)

    def _is_valid(self, number: int) -> bool:
        return time.monotonic() < self._valid_until_s.get(number, 0.0)

    # Which lanes it leads

    async def _load(self) -> None:
        """What the group is now."""
        known = self._group
        self._group = await self._parts.lanes.group(self._who.tenant, self._who.group)
        if self._group is None or (known and known.created_at != self._group.created_at):
            raise self._not_found()
        self._read_no_more()
        settings = self._group.settings
        self._wanted = self._parts.filter_of(settings.filter)
        wanted = Wanted(self._wanted, settings.lane_count, settings.key_tag_prefix)
        reading = self._parts.readings.of(self._who.tenant, self._who.group, self._group, wanted)
        self._reader = LaneReader(reading, self._was_read, self._fail)

    def _not_found(self) -> GroupNotFound:
        return GroupNotFound(f"there is no group {self._who.group}", group=self._who.group)

    def _read_no_more(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def _lease_s(self) -> float:
        assert self._group is not None
        return self._group.settings.lease_s

    async def _keep(self) -> None:
        """Keep the lanes, and take or give up some when consumers come or go; runs for ever."""
        while True:
            await self._change()
            try:
                async with self._turn:
                    await self._beat()
            except _AWAY as error:
                _log.warning("lanes were not kept", problem=str(error))
                self._drop_lapsed()
            await asyncio.sleep(min(SPACING_S, self._lease_s / RENEWALS))

    async def _change(self) -> None:
        """Return when it is time to look. Raises `ConsumerSilent` when it has been silent."""
        wait_s = min(self._lease_s / RENEWALS, max(0.0, self._silent_at_s - time.monotonic()))
        await set_within(self._changed, wait_s)
        self._changed.clear()
        if time.monotonic() >= self._silent_at_s:
            raise ConsumerSilent(
                f"the consumer was not heard for {self._lease_s:g} s", lease_s=self._lease_s
            )

    async def _beat(self) -> None:
        asked_s = time.monotonic()
        is_up_to_date = self._is_up_to_date
        beat = await self._parts.lanes.beat(
            self._who, self._own_tokens(), is_up_to_date=is_up_to_date
        )
        assert self._group is not None
        # One of that name that was created since is another, which it knows nothing of.
        if beat is None or beat.created_at != self._group.created_at:
            raise self._not_found()
        if not beat.consumer_count:
            raise ConsumersFull("the group has as many consumers as it may")
        self._lose([number for number in self._lanes if number not in beat.kept])
        if beat.is_freed:
            self._parts.consumers.changed(self._who.tenant, self._who.group)
        await self._renew(beat.version, asked_s)
        await self._give_up()
        await self._share(beat)
        if not self._has_joined:
            # Now others see it, and how many lanes they have too many.
            self._has_joined = True
            self._parts.consumers.changed(self._who.tenant, self._who.group)

    async def _renew(self, version: int, asked_s: float) -> None:
        """Lead the lanes for another lease: that of the group as it was of that version."""
        assert self._group is not None
        if version != self._group.version:
            before_s = self._lease_s
            await self._load()
            for lane in self._lanes.values():
                lane.is_draining = True
            if self._lease_s != before_s:
                self._send(Started(self._who.consumer, self._lease_s))
        if version != self._group.version:
            self._changed.set()  # it was changed once more
            return
        for number in self._lanes:
            until_s = max(self._valid_until_s[number], asked_s + self._lease_s)
            self._valid_until_s[number] = until_s

    async def _share(self, beat: Beat) -> None:
        """Come to the number of lanes that is its own."""
        if self._is_leaving:
            return
        staying = [lane for lane in self._lanes.values() if not lane.is_draining]
        if len(self._lanes) < beat.share:
            await self._claim(beat.share - len(self._lanes))
        elif len(staying) > beat.share:
            staying.sort(key=lambda lane: (lane.delivered_count, -lane.number))
            for lane in staying[: len(staying) - beat.share]:
                lane.is_draining = True
            await self._give_up()

    async def _claim(self, count: int) -> None:
        assert self._group is not None
        asked_s = self._claiming_since_s = time.monotonic()
        least_s = max(0.0, self._promised_until_s - asked_s)
        try:
            claimed = await self._parts.lanes.claim(self._who, self._group, count, least_s=least_s)
            # What is not known to fit is not led: it is free again when its lease is over.
            for one in claimed:
                await self._check_holds(one)
        finally:
            self._claiming_since_s = None
        lanes = [Lane(self._read(one), self._group.settings) for one in claimed]
        # They may have been taken from it since it looked.
        self._lose([lane.number for lane in lanes if lane.number in self._lanes])
        for lane in lanes:
            self._lanes[lane.number] = lane
            self._tokens[lane.number] = lane.token
            self._valid_until_s[lane.number] = asked_s + max(self._lease_s, least_s)
        if not lanes:
            return
        self._parts.instruments.leading(len(lanes))
        assert self._reader is not None
        self._reader.add(lanes)
        self._held.set()
        self._send_lanes()

    def _read(self, claimed: ClaimedLane) -> ClaimedLane:
        """The same with the filters of its cuts."""
        cuts = [replace(cut, wanted=self._parts.filter_of(cut.filter)) for cut in claimed.cuts]
        return replace(claimed, cuts=cuts)

    async def _check_holds(self, claimed: ClaimedLane) -> None:
        """Raise `LogReplaced` unless the log holds all that is known of a lane."""
        current = (await self._parts.store.end(self._who.tenant)).incarnation
        seen = [(claimed.reached, claimed.incarnation)]
        seen += [(cut.through, cut.incarnation) for cut in claimed.cuts]
        for position, incarnation in seen:
            await self._parts.reader.check_holds(
                self._who.tenant, ReadOptions(), position + 1, incarnation, current
            )

    async def _give_up(self) -> None:
        """Let others have lanes that are to go and of which nobody has an event. In its turn."""
        drained = [lane for lane in self._lanes.values() if lane.is_draining and lane.is_drained]
        if not drained:
            return
        tokens = {lane.number: lane.token for lane in drained}
        for number in tokens:
            self._forget(number)
        self._send_lanes()
        await self._parts.lanes.release(self._who, tokens, goes=False)
        self._parts.consumers.changed(self._who.tenant, self._who.group)

    @property
    def _has_vanished(self) -> bool:
        """It did not say that it goes, and was not sent away: what it had may be the cause."""
        return not self._has_left and isinstance(self._failure, ConsumerSilent | None)

    def _own_tokens(self) -> Mapping[int, int]:
        return {lane.number: lane.token for lane in self._lanes.values()}

    def _drop_lapsed(self) -> None:
        self._lose([number for number in self._lanes if not self._is_valid(number)])

    def _lose(self, numbers: Sequence[int]) -> None:
        """Somebody else may lead them."""
        for number in numbers:
            self._parts.instruments.lost()
            self._forget(number)
        if numbers:
            self._send_lanes()
            self._changed.set()

    def _forget(self, number: int) -> None:
        lane = self._lanes.pop(number)
        self._valid_until_s.pop(number, None)
        if self._reader is not None:
            self._reader.remove(number)
        for position in [at for at, led in self._delivered.items() if led is lane]:
            del self._delivered[position]
        self._give_back()
        self._parts.instruments.leading(-1)
        self._woken.set()

    # What is written

    async def _settle(self) -> None:
        """Write what is said, all that has come at once; runs for ever."""
        while True:
            await set_within(self._unwritten, PROGRESS_S)
            self._unwritten.clear()
            # Also while there is always something to say of some lanes, and never of others.
            is_due = time.monotonic() >= self._wrote_progress_s + PROGRESS_S
            await self._write(has_progress=is_due)
            if any(lane.is_draining and lane.is_drained for lane in self._lanes.values()):
                self._changed.set()

    async def _write(self, *, has_progress: bool) -> None:
        now_s = time.monotonic()
        if has_progress:
            self._wrote_progress_s = now_s
        pending = [
            (lane, lane.take_change(now_s))
            for lane in self._lanes.values()
            if lane.has_changes or (has_progress and lane.has_progress)
        ]
        if not pending:
            return
        accepted = await self._accepted([change for _, change in pending])
        settled: list[Position] = []
        for lane, change in pending:
            if lane.number in accepted:
                lane.written(change)
                settled += change.settled
            else:
                self._refuse(lane, change)
        self._give_back()
        self._parts.instruments.written(len(settled), time.monotonic() - now_s)
        if self._reader is not None:
            self._reader.moved()
        self._held.set()
        if settled:
            self._send(Settled(settled))
        self._woken.set()

    async def _accepted(self, changes: list[LaneChange]) -> frozenset[int]:
        """Which of them are written; tried again while the database is away and leases last."""
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                async with self._turn:
                    who = self._who
                    return await self._parts.settlements.settle(who.tenant, who.group, changes)
            except _AWAY:
                if not any(self._is_valid(change.lane) for change in changes):
                    return frozenset()
            await asyncio.sleep(backoff.next_s())

    def _refuse(self, lane: Lane, change: LaneChange) -> None:
        for position in change.settled:
            self._send(Refused(position, _lost(lane.number, lane.token, position)))
        if self._lanes.get(lane.number) is lane:
            self._lose([lane.number])

    def _was_read(self) -> None:
        self._woken.set()
        if any(lane.has_changes for lane in self._lanes.values()):
            self._unwritten.set()

    # What is tried again

    async def _fetch_due(self) -> None:
        """Fetch held events when they are due; runs for ever."""
        while True:
            now_s = time.monotonic()
            fetched_bytes = sum(lane.fetched_bytes for lane in self._lanes.values())
            due = [
                (lane, held)
                for lane in self._lanes.values()
                if fetched_bytes < FETCHED_BYTES_MAX
                for held in lane.due(now_s, FETCHED_COUNT_MAX)
            ]
            at_once = due[:FETCHES_MAX]
            for lane, held in at_once:
                lane.fetching(held)
            await asyncio.gather(*[self._fetch(lane, held) for lane, held in at_once])
            if not due:
                await self._until_due(now_s)

    def _give_back(self) -> None:
        """What held events have taken that are not here any more."""
        for position, (lane, reservation) in list(self._fetched.items()):
            if self._lanes.get(lane.number) is not lane or not lane.is_here(position):
                reservation.keep(0)
                del self._fetched[position]

    async def _until_due(self, now_s: float) -> None:
        next_s = [lane.next_due_s() for lane in self._lanes.values()]
        wait_s = min((at_s for at_s in next_s if at_s is not None), default=now_s + 60.0) - now_s
        # At least a moment: who has as many here as there may be waits for some to be settled.
        await set_within(self._held, max(0.02, wait_s))
        self._held.clear()

    async def _fetch(self, lane: Lane, held: HeldEvent) -> None:
        reservation = self._parts.send_budget.reservation(self._who.tenant)
        try:
            event = await self._event_at(held.position, reservation)
        except BaseException:
            reservation.keep(0)
            raise
        self._fetched[held.position] = lane, reservation
        if self._lanes.get(lane.number) is lane:
            lane.fetched(held, event)
            if event is None:
                self._unwritten.set()
            self._woken.set()
        self._give_back()

    async def _event_at(self, position: Position, reservation: ByteReservation) -> bytes | None:
        """The event, None when it is gone or not wanted any more."""
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                return await self._read_at(position, reservation)
            except _AWAY:
                reservation.keep(0)
            await asyncio.sleep(backoff.next_s())

    async def _read_at(self, position: Position, reservation: ByteReservation) -> bytes | None:
        options = ReadOptions(from_position=position, limit=1)
        reading = self._parts.reader.read(self._who.tenant, options, reservation)
        async with aclosing(reading) as pages:
            async for page in pages:
                for event in self._parts.decode(self._parts.encode(page.fields)).events:
                    is_it = event.position == position and self._is_wanted(event.labels)
                    return event.event if is_it else None
        return None

    def _is_wanted(self, labels: Labels) -> bool:
        """Events may be held from before the group had its filter."""
        return self._wanted is None or self._wanted.matches(labels)

    # How it ends

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="consume")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _end_with_process(self) -> None:
        """Also a consumer without lanes, which reads nothing that would end."""
        await self._parts.stopping.wait()
        raise ShuttingDown("this process is shutting down")

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._woken.set()

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        # Not while a statement is on its way: one that says that it is there, and comes behind the
        # one that it has gone, would have it be there for a lease.
        with suppress(TimeoutError):
            async with asyncio.timeout(TURN_S), self._turn:
                pass
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._read_no_more()
        for _, reservation in self._fetched.values():
            reservation.keep(0)
        self._fetched.clear()

    async def _leave(self) -> None:
        """Write what was said, and give up all lanes."""
        if self._has_vanished and self._delivered:
            position, lane = next(iter(self._delivered.items()))
            lane.retry_later(position, time.monotonic(), 0.0, _WENT)
        try:
            await self._write(has_progress=True)
        finally:
            tokens = self._own_tokens()
            self._parts.instruments.leading(-len(tokens))
            await self._parts.lanes.release(self._who, tokens, goes=True)
            self._parts.consumers.changed(self._who.tenant, self._who.group)


def _lost(number: int, token: int, position: Position) -> LeaseLost:
    return LeaseLost(
        f"lane {number} is not this consumer's any more under token {token}",
        lane=number,
        token=token,
        position=position,
    )
