"""Bounds what large responses hold on their way to readers. Knows no log and no wire.

Small ones are not counted: a reader has one or two of them on their way, and the number of
calls is bounded. Of records of several MiB a thousand readers that do not take them would hold
several GiB.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from girih.ids import TenantId
from services.events.errors import ReadersBusy
from services.plumbing.budget import Budget

SMALL_BYTES = 2**17
"""Not counted: twice what a narrow response holds unless it is a single larger record."""

COPIES = 2
"""How often each counts: what is being sent is there twice and, where it was read ahead, three
times (as records, as a response, and in gRPC), and what is read ahead once."""

WAIT_S = 30.0


class SendBudget:
    """What the readers of all logs may have on their way; `Budget` says how much those of one."""

    def __init__(self, bytes_max: int) -> None:
        self._budget = Budget(bytes_max)

    @property
    def bytes_held(self) -> int:
        """What responses on their way hold together."""
        return self._budget.lent

    def has_capacity(self, tenant: TenantId, byte_count: int) -> bool:
        """Whether a response of so many bytes may begin at once."""
        return self._budget.can_take_now(COPIES * byte_count, tenant)

    def reservation(self, tenant: TenantId) -> "ByteReservation":
        """One that holds nothing yet. Whoever has it gives back what it takes."""
        return ByteReservation(self._budget, tenant)

    @asynccontextmanager
    async def reserved(
        self, tenant: TenantId, byte_count: int = 0
    ) -> AsyncIterator["ByteReservation"]:
        """Hold so much for the block; see `ByteReservation.take`."""
        reservation = self.reservation(tenant)
        try:
            await reservation.take(byte_count)
            yield reservation
        finally:
            reservation.keep(0)


class ByteReservation:
    """What the responses of one call hold."""

    def __init__(self, budget: Budget, tenant: TenantId) -> None:
        self._budget = budget
        self._tenant = tenant
        self._bytes_held = 0

    async def take(self, byte_count: int) -> int:
        """Hold so much more, or nothing if it is little; answers how much, with its copies.

        Raises `ReadersBusy` when it does not become free.
        """
        if byte_count <= SMALL_BYTES:
            return 0
        try:
            async with asyncio.timeout(WAIT_S):
                taken = await self._budget.take(COPIES * byte_count, self._tenant)
        except TimeoutError:
            raise ReadersBusy("too much is on its way to readers") from None
        self._bytes_held += taken
        return taken

    def give_back(self, byte_count: int) -> None:
        """Some of what `take` answered."""
        self._bytes_held -= byte_count
        self._budget.give_back(byte_count, self._tenant)

    def keep(self, byte_count: int) -> None:
        """Give back all but what so much takes."""
        self.give_back(max(0, self._bytes_held - COPIES * byte_count))
