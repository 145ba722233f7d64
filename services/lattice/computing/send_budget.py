"""Bounds the bytes of answers that are computed and not taken yet. Knows no answer.

They are counted apart from the memory that work is done in: who reads slowly holds up nobody's
computing, and in the end only the large answers of its own tenant.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.lattice.computing.bounded_wait import bounded_wait
from services.lattice.errors import ComputeBusy
from services.plumbing import correlation
from services.plumbing.budget import Budget

_RETRY_AFTER_S = 5.0

_SMALL_SHARE = 8
"""Small answers have one part in so many of all bytes."""
_SMALL_COUNT = 16
"""Of the largest small answers so many fit."""


class SendBudget:
    """What the answers of all tenants may hold; those of one tenant half of it at most.

    Small answers have bytes of their own: they would wait for a large one of their tenant
    while it is computed, and until it is read. An answer that takes more than there is of its
    kind has all of it, alone.
    """

    def __init__(self, bytes_max: int) -> None:
        small_bytes = bytes_max // _SMALL_SHARE
        large_bytes = bytes_max - small_bytes
        self._small = Budget(small_bytes, share=small_bytes // 2)
        self._large = Budget(large_bytes, share=large_bytes // 2)
        self._small_max = small_bytes // _SMALL_COUNT

    @property
    def lent(self) -> int:
        """The bytes that answers hold now."""
        return self._small.lent + self._large.lent

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits for room."""
        return self._small.waiting + self._large.waiting > 0

    @asynccontextmanager
    async def reserved(self, size_bytes: int) -> AsyncIterator["SendReservation"]:
        """Hold so much inside the block, before it is computed. Raises ComputeBusy."""
        call = correlation.bound()
        owner = call.tenant if call else ""
        busy = ComputeBusy(
            "as many answers wait for their readers as this process holds",
            retry_after_s=_RETRY_AFTER_S,
        )
        budget = self._small if size_bytes <= self._small_max else self._large
        async with bounded_wait(busy):
            taken = await budget.take(size_bytes, owner)
        reservation = SendReservation(budget, owner, taken)
        try:
            yield reservation
        finally:
            reservation.keep(0)


class SendReservation:
    """What one answer holds."""

    def __init__(self, budget: Budget, owner: str, bytes_held: int) -> None:
        self._budget = budget
        self._owner = owner
        self._bytes_held = bytes_held

    def keep(self, size_bytes: int) -> None:
        """Give back all but so much."""
        spare_bytes = max(0, self._bytes_held - size_bytes)
        self._bytes_held -= spare_bytes
        self._budget.give_back(spare_bytes, self._owner)
