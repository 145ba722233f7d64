"""So many bytes for all who hold some at once. Knows not who they are."""

import asyncio
from collections import deque
from contextlib import suppress


class ByteBudget:
    """Gives out bytes in the order of asking. For one event loop.

    What is given out must be released, by whoever got it. Nobody gets more than the whole:
    who asks `acquire` for that waits for ever.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._free = bytes_max
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def bytes_held(self) -> int:
        return self.bytes_max - self._free

    def has(self, byte_count: int) -> bool:
        """Whether so much could be had without waiting, and without overtaking anybody."""
        return not self._waiting and byte_count <= self._free

    def try_acquire(self, byte_count: int) -> bool:
        """Take so much if it can be had now; answers whether it was."""
        is_free = self.has(byte_count)
        if is_free:
            self._free -= byte_count
        return is_free

    async def acquire(self, byte_count: int) -> None:
        """Return once so much is free, and the caller's. Cancelling it takes nothing."""
        if self.try_acquire(byte_count):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, byte_count))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(byte_count)
            else:
                # It may have been passed over already, as one that nobody waits for.
                with suppress(ValueError):
                    self._waiting.remove((turn, byte_count))
                self.release(0)
            raise

    def release(self, byte_count: int) -> None:
        """Give back so much, to those whose turn it is."""
        self._free += byte_count
        while self._waiting and self._waiting[0][1] <= self._free:
            turn, wanted = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
