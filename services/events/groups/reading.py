"""Reads a log for the lanes of a group that this process leads, as followers read it, once for all.

Lanes that are about equally far share a read, whichever consumers lead them, so an event is fetched
and decoded once for all of them. Lanes that are further behind have a read of their own until it
comes near another; then one goes on for both. A consumer that has as much waiting as it may holds
up those that it shares a read with for a moment; then it is read for apart.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from girih.ids import Position, TenantId
from services.events.groups.talk import ReadBatch
from services.events.lanes.group import hash_of, key_of
from services.events.lanes.lane import Lane
from services.events.matching.queries import Filter
from services.events.reading.reader import ReadOptions
from services.events.reading.send_budget import SendBudget
from services.plumbing.tasks import set_within

WAITING_COUNT_MAX: Final = 1_000
"""Events that wait in the lanes of a consumer, but for those that came with the last of them."""
WAITING_BYTES_MAX: Final = 2**19
SHARED_WAIT_S: Final = 0.25
"""So long a consumer without room holds up others that it shares a read with."""
NEAR: Final = 1_000
"""Positions that a read goes back at most for another to be read with it."""

Decode = Callable[[bytes], ReadBatch]


class Followers(Protocol):
    """Who reads what is stored, and then what is committed."""

    def follow(self, tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        """Responses, as they come. Close it."""


@dataclass(frozen=True)
class Wanted:
    """What is read for a group, and how it is cut into lanes."""

    filter: Filter | None
    lane_count: int
    key_tag_prefix: str


class LaneReader:
    """The lanes of one consumer, for which the log is read."""

    def __init__(
        self,
        group: "GroupReading",
        was_read: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`was_read` is called when lanes have taken something, `failed` when no more comes."""
        self.lanes: dict[int, Lane] = {}
        self.was_read = was_read
        self.failed = failed
        self._group = group

    def add(self, lanes: Sequence[Lane]) -> None:
        """Read for these as well, from where each is."""
        self.lanes |= {lane.number: lane for lane in lanes}
        self._group.add(self, lanes)

    def remove(self, number: int) -> None:
        """Read no more for a lane."""
        lane = self.lanes.pop(number, None)
        if lane is not None:
            self._group.remove(lane)

    def moved(self) -> None:
        """Lanes have settled something: there may be room."""
        self._group.moved(self)

    def close(self) -> None:
        """Read no more."""
        for number in list(self.lanes):
            self.remove(number)

    def has_room(self, share: float = 1.0) -> bool:
        """Whether less waits than that share of what may."""
        count = sum(lane.waiting_count for lane in self.lanes.values())
        byte_count = sum(lane.waiting_bytes for lane in self.lanes.values())
        return count < share * WAITING_COUNT_MAX and byte_count < share * WAITING_BYTES_MAX


class _Read:
    """Some lanes that are read together."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self.lanes = {lane.number: lane for lane in lanes}
        first = min(self.lanes.values(), key=lambda lane: lane.read_through)
        self.position = first.read_through
        self.passed = first.read_through
        """Where it was before what came last."""
        self.incarnation = first.incarnation
        self.is_waiting = False
        """For room."""
        self.task: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Of the events that were read for its lanes and are not settled."""
        return sum(lane.waiting_bytes for lane in self.lanes.values())

    def is_near(self, other: "_Read") -> bool:
        """Whether the other may go on for both: it was passed just now, or is a little behind."""
        if other.is_waiting or other.incarnation != self.incarnation:
            return False
        return min(self.passed, self.position - NEAR) <= other.position <= self.position


class GroupReading:
    """The reads of one group in this process, which come to an end with its lanes."""

    def __init__(
        self,
        tenant: TenantId,
        wanted: Wanted,
        followers: Followers,
        decode: Decode,
        send_budget: SendBudget,
    ) -> None:
        self._tenant = tenant
        self._send_budget = send_budget
        self._wanted = wanted
        self._followers = followers
        self._decode = decode
        self._reads: list[_Read] = []
        self._leading: dict[int, tuple[Lane, LaneReader]] = {}
        """By the number of the lane."""
        self._stalled: dict[int, Lane] = {}
        """Lanes that are not to read on for now."""
        self._has_room = asyncio.Event()

    @property
    def read_count(self) -> int:
        """How many reads go on."""
        return len(self._reads)

    def add(self, reader: LaneReader, lanes: Sequence[Lane]) -> None:
        """Read for these as well, as far as nobody here leads them under a larger token."""
        newest = [lane for lane in lanes if self._displaces(lane)]
        self._leading |= {lane.number: (lane, reader) for lane in newest}
        self._start(newest)

    def _displaces(self, lane: Lane) -> bool:
        """Whoever led it under a smaller token has lost it, and will learn so."""
        known, _ = self._leading.get(lane.number, (None, None))
        if known is not None and known.token < lane.token:
            self.remove(known)
        return known is None or known.token < lane.token

    def remove(self, lane: Lane) -> None:
        """Read no more for a lane. Does nothing when that is not done any more."""
        if self._leading.get(lane.number, (None, None))[0] is not lane:
            return
        del self._leading[lane.number]
        self._stalled.pop(lane.number, None)
        for read in list(self._reads):
            if read.lanes.pop(lane.number, None) is not None and not read.lanes:
                self._end(read)
        self._has_room.set()

    def moved(self, reader: LaneReader) -> None:
        """Lanes of it have settled something: there may be room."""
        self._has_room.set()
        ready = [
            lane
            for number, lane in self._stalled.items()
            if number in reader.lanes and not lane.is_full
        ]
        for lane in ready:
            del self._stalled[lane.number]
        self._start(ready)

    def _start(self, lanes: Collection[Lane], *, room: float = 1.0) -> None:
        if not lanes:
            return
        read = _Read(lanes)
        self._reads.append(read)
        read.task = asyncio.create_task(self._run(read, room), name="read for lanes")
        read.task.add_done_callback(lambda task: self._ended(read, task))

    async def _run(self, read: _Read, room: float) -> None:
        read.is_waiting = True
        # What a read brought is reserved until its lanes have room for more. Who is set apart of
        # it reserves what waits for it.
        async with self._send_budget.reserved(self._tenant, read.waiting_bytes):
            await self._room(read, room)
        options = ReadOptions(
            from_position=Position(read.position + 1),
            is_followed=True,
            incarnation=read.incarnation,
            filter=self._wanted.filter,
            has_progress=True,
        )
        async with aclosing(self._followers.follow(self._tenant, options)) as responses:
            async for response in responses:
                batch = self._decode(response)
                del response
                self._dispatch(read, batch)
                del batch
                if self._is_joined(read):
                    break
                await self._room(read)
                if not read.lanes:
                    break

    def _dispatch(self, read: _Read, batch: ReadBatch) -> None:
        lanes = read.lanes
        readers = self._readers(lanes)
        for position, labels, event in batch.events:
            key = key_of(labels.stream, labels.tags, self._wanted.key_tag_prefix)
            lane = lanes.get(hash_of(key) % self._wanted.lane_count)
            if lane is None:
                continue
            if lane.is_full:
                self._stalled[lane.number] = lanes.pop(lane.number)
                lane.read_up_to(Position(position - 1), batch.incarnation)
            else:
                lane.take(position, key, labels, event)
        read.passed, read.position = read.position, max(read.position, batch.position)
        read.incarnation = batch.incarnation
        for lane in lanes.values():
            lane.read_up_to(batch.position, batch.incarnation)
        for reader in readers:
            reader.was_read()

    def _is_joined(self, read: _Read) -> bool:
        """Whether another read goes on for its lanes."""
        for other in self._reads:
            if other is not read and other.lanes and read.is_near(other):
                other.lanes.update(read.lanes)
                read.lanes.clear()
                return True
        return False

    async def _room(self, read: _Read, room: float = 1.0) -> None:
        """Return once all who read together have room; who keeps others waiting reads apart."""
        read.is_waiting = True
        while full := [one for one in self._readers(read.lanes) if not one.has_room(room)]:
            is_alone = len(full) == len(self._readers(read.lanes))
            self._has_room.clear()
            if not await set_within(self._has_room, None if is_alone else SHARED_WAIT_S):
                self._set_apart(read, full)
        read.is_waiting = False

    def _set_apart(self, read: _Read, full: Collection[LaneReader]) -> None:
        for reader in full:
            own = [lane for number, lane in read.lanes.items() if number in reader.lanes]
            for lane in own:
                del read.lanes[lane.number]
            # Once half of it is settled: one for each event that is settled would be many reads.
            self._start(own, room=0.5)

    def _readers(self, numbers: Iterable[int]) -> Collection[LaneReader]:
        """Who leads these lanes, each once."""
        return {id(one): one for one in (self._leading[at][1] for at in numbers)}.values()

    def _end(self, read: _Read) -> None:
        if read in self._reads:
            self._reads.remove(read)
        if read.task is not None and read.task is not asyncio.current_task():
            read.task.cancel()

    def _ended(self, read: _Read, task: "asyncio.Task[None]") -> None:
        if read in self._reads:
            self._reads.remove(read)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            for reader in self._readers(read.lanes):
                reader.failed(error)
