"""Reads the log for the lanes that one consumer leads, as followers read it.

Lanes that are equally far share a read. Those that are given to the consumer later have one of
their own until it is as far as another; then that goes on for both.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from girih.ids import Position, TenantId
from services.events.groups.talk import ReadBatch
from services.events.lanes.group import hash_of, key_of
from services.events.lanes.lane import Lane
from services.events.matching.queries import Filter
from services.events.reading.reader import ReadOptions

WAITING_COUNT_MAX: Final = 1_000
"""Events that wait in the lanes of a consumer, but for those that came with the last of them."""
WAITING_BYTES_MAX: Final = 2**19

Decode = Callable[[bytes], ReadBatch]


class Followers(Protocol):
    """Who reads what is stored, and then what is committed."""

    def follow(self, tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        """Responses, as they come. Close it."""


class _Reading:
    """Some lanes that are read together."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self.lanes = {lane.number: lane for lane in lanes}
        first = min(self.lanes.values(), key=lambda lane: lane.read_through)
        self.position = first.read_through
        self.incarnation = first.incarnation
        self.task: asyncio.Task[None] | None = None


class Readings:
    """The reads of one consumer, which come to an end with it."""

    def __init__(
        self,
        tenant: TenantId,
        followers: Followers,
        decode: Decode,
        was_read: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`was_read` is called when lanes have taken something."""
        self._tenant = tenant
        self._followers = followers
        self._decode = decode
        self._was_read = was_read
        self._failed = failed
        self._readings: list[_Reading] = []
        self._stalled: dict[int, Lane] = {}
        """Lanes that are not to read on for now."""
        self._has_room = asyncio.Event()
        self.filter: Filter | None = None
        self.lane_count = 1
        self.key_tag_prefix = ""

    def add(self, lanes: Sequence[Lane]) -> None:
        """Read for these as well, from where each is."""
        if not lanes:
            return
        reading = _Reading(lanes)
        self._readings.append(reading)
        reading.task = asyncio.create_task(self._read(reading), name="read for lanes")
        reading.task.add_done_callback(self._ended)

    def remove(self, number: int) -> None:
        """Read no more for a lane."""
        self._stalled.pop(number, None)
        for reading in list(self._readings):
            if reading.lanes.pop(number, None) is not None and not reading.lanes:
                self._end(reading)
        self._has_room.set()

    def moved(self) -> None:
        """Lanes have settled something: there may be room."""
        self._has_room.set()
        ready = [lane for lane in self._stalled.values() if not lane.is_full]
        for lane in ready:
            del self._stalled[lane.number]
        self.add(ready)

    async def close(self) -> None:
        """Read no more."""
        tasks = [reading.task for reading in self._readings if reading.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, reading: _Reading) -> None:
        options = ReadOptions(
            from_position=Position(reading.position + 1),
            is_followed=True,
            incarnation=reading.incarnation,
            filter=self.filter,
            has_progress=True,
        )
        async with aclosing(self._followers.follow(self._tenant, options)) as responses:
            async for response in responses:
                batch = self._decode(response)
                del response
                self._dispatch(reading, batch)
                del batch
                if not reading.lanes or self._is_joined(reading):
                    break
                await self._room(reading)
        self._end(reading)

    def _dispatch(self, reading: _Reading, batch: ReadBatch) -> None:
        lanes = reading.lanes
        for position, labels, event, byte_count in batch.events:
            key = key_of(labels.stream, labels.tags, self.key_tag_prefix)
            lane = lanes.get(hash_of(key) % self.lane_count)
            if lane is None:
                continue
            if lane.is_full:
                self._stalled[lane.number] = lanes.pop(lane.number)
            else:
                lane.take(position, key, labels, event, byte_count)
        reading.position = max(reading.position, batch.position)
        reading.incarnation = batch.incarnation
        for lane in lanes.values():
            lane.read_up_to(batch.position, batch.incarnation)
        self._was_read()

    def _is_joined(self, reading: _Reading) -> bool:
        """Whether another read is there that has not gone further, and goes on for it."""
        for other in self._readings:
            is_there = other is not reading and other.lanes and other.position <= reading.position
            if is_there and other.incarnation == reading.incarnation:
                other.lanes.update(reading.lanes)
                reading.lanes.clear()
                return True
        return False

    async def _room(self, reading: _Reading) -> None:
        """Return once few events wait in these lanes."""
        while reading.lanes:
            lanes = reading.lanes.values()
            count = sum(lane.waiting_count for lane in lanes)
            byte_count = sum(lane.waiting_bytes for lane in lanes)
            if count < WAITING_COUNT_MAX and byte_count < WAITING_BYTES_MAX:
                return
            self._has_room.clear()
            await self._has_room.wait()

    def _end(self, reading: _Reading) -> None:
        if reading in self._readings:
            self._readings.remove(reading)
        if reading.task is not None and reading.task is not asyncio.current_task():
            reading.task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)
