"""Bounds what large responses hold on their way to followers. Knows no log and no wire.

Small ones are not counted: a follower has one of them on its way, and the number of calls
is bounded. Of records of several MiB a thousand followers that do not read would hold
several GiB.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.events.errors import FollowersBusy
from services.plumbing.byte_budget import ByteBudget

SMALL_BYTES = 2**17
"""Not counted: twice what a response holds unless it is a single larger record."""

LOG_BYTES_MAX = 16 * 2**20
TOTAL_BYTES_MAX = 64 * 2**20
WAIT_S = 30.0


class SendBudget:
    """What the followers of one log may have on their way, within what all may."""

    def __init__(self, total: ByteBudget) -> None:
        self._budgets = (ByteBudget(LOG_BYTES_MAX), total)

    def has_capacity(self, byte_count: int) -> bool:
        return all(budget.has(byte_count) for budget in self._budgets)

    @asynccontextmanager
    async def reserved(self, byte_count: int) -> AsyncIterator["ByteReservation"]:
        """Hold so much for the block, or nothing if it is little.

        Raises `FollowersBusy` when it does not become free.
        """
        reserved = ByteReservation(self._budgets if byte_count > SMALL_BYTES else ())
        try:
            try:
                async with asyncio.timeout(WAIT_S):
                    await reserved.take(byte_count)
            except TimeoutError:
                raise FollowersBusy("too much is on its way to followers") from None
            yield reserved
        finally:
            reserved.keep(0)


class ByteReservation:
    """What one response holds."""

    def __init__(self, budgets: tuple[ByteBudget, ...]) -> None:
        self._budgets = budgets
        self._taken: list[tuple[ByteBudget, int]] = []

    async def take(self, byte_count: int) -> None:
        for budget in self._budgets:
            await budget.acquire(byte_count)
            self._taken.append((budget, byte_count))

    def keep(self, byte_count: int) -> None:
        """Give back all but so much."""
        for budget, taken in self._taken:
            budget.release(max(0, taken - byte_count))
        self._taken = [(budget, min(taken, byte_count)) for budget, taken in self._taken]
