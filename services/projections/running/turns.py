"""How many logs are followed at once: each follower is a call that the event store holds open.

While there is room, who follows keeps its place. When others wait, places go round: who has come to
the end of its log gives its place up within a second, who has not after a while.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

TURN_S: Final = 5.0
"""How long a place is kept while others wait for one."""


class Turns:
    """Places for followers."""

    def __init__(self, count_max: int, turn_s: float = TURN_S) -> None:
        self._places = asyncio.Semaphore(count_max)
        self._turn_s = turn_s
        self._waiting_count = 0
        self.taken_count = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """A place for the block, once one is free: first come, first served."""
        self._waiting_count += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting_count -= 1
        self.taken_count += 1
        try:
            yield Turn(self, time.monotonic() + self._turn_s)
        finally:
            self.taken_count -= 1
            self._places.release()

    @property
    def is_contended(self) -> bool:
        """Others wait for a place."""
        return self._waiting_count > 0


class Turn:
    """A place that is held."""

    def __init__(self, turns: Turns, until_s: float) -> None:
        self._turns = turns
        self._until_s = until_s

    @property
    def is_wanted(self) -> bool:
        """Others wait for the place: who does not need it gives it up."""
        return self._turns.is_contended

    @property
    def is_over(self) -> bool:
        """It is others' turn."""
        return self._turns.is_contended and time.monotonic() >= self._until_s
