"""Bounds what large responses hold on their way to followers. Knows no log and no wire.

Small ones are not counted: a follower has one of them on its way, and the number of calls
is bounded. Of records of several MiB a thousand followers that do not read would hold
several GiB.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.events.errors import FollowersBusy

SMALL_BYTES = 2**17
"""Not counted: twice what a response holds unless it is a single larger record."""

LOG_BYTES_MAX = 16 * 2**20
TOTAL_BYTES_MAX = 64 * 2**20
WAIT_S = 30.0


class ByteSemaphore:
    """So many bytes, given out in the order of asking."""

    def __init__(self, bytes_max: int) -> None:
        self._free = bytes_max
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def has(self, byte_count: int) -> bool:
        return not self._waiting and byte_count <= self._free

    async def take(self, byte_count: int) -> None:
        """Return once so much is free, and the caller's."""
        if self.has(byte_count):
            self._free -= byte_count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, byte_count))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(byte_count)
            else:
                self._waiting.remove((turn, byte_count))
                self.give(0)
            raise

    def give(self, byte_count: int) -> None:
        """Give back so much, to those whose turn it is."""
        self._free += byte_count
        while self._waiting and self._waiting[0][1] <= self._free:
            turn, wanted = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


class SendBudget:
    """What the followers of one log may have on their way, within what all may."""

    def __init__(self, total: ByteSemaphore) -> None:
        self._rooms = (ByteSemaphore(LOG_BYTES_MAX), total)

    def has_capacity(self, byte_count: int) -> bool:
        return all(room.has(byte_count) for room in self._rooms)

    @asynccontextmanager
    async def reserved(self, byte_count: int) -> AsyncIterator["ByteReservation"]:
        """Hold so much for the block, or nothing if it is little.

        Raises `FollowersBusy` when it does not become free.
        """
        reserved = ByteReservation(self._rooms if byte_count > SMALL_BYTES else ())
        try:
            async with asyncio.timeout(WAIT_S):
                await reserved.take(byte_count)
        except TimeoutError:
            reserved.keep(0)
            raise FollowersBusy("too much is on its way to followers") from None
        try:
            yield reserved
        finally:
            reserved.keep(0)


class ByteReservation:
    """What one response holds."""

    def __init__(self, rooms: tuple[ByteSemaphore, ...]) -> None:
        self._rooms = rooms
        self._taken: list[tuple[ByteSemaphore, int]] = []

    async def take(self, byte_count: int) -> None:
        for room in self._rooms:
            await room.take(byte_count)
            self._taken.append((room, byte_count))

    def keep(self, byte_count: int) -> None:
        """Give back all but so much."""
        for room, taken in self._taken:
            room.give(max(0, taken - byte_count))
        self._taken = [(room, min(taken, byte_count)) for room, taken in self._taken]
