"""Moves one log from the place where it is to another, while it is read and written.

Records are copied while others are appended; each portion is compared by a digest that both
databases make. Then the log is held: for a moment nobody writes to it, what came meanwhile is
copied, what belongs to it is made the same, and one transaction where it was has it be where it
goes. From there on it is there for everybody, and a further statement has it be read and written.

Whoever is killed leaves a log that is where it was, or where it goes: what holds it ends with the
connection, and between the two statements anybody who looks for the log ends the move.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from girih.ids import NO_POSITION, Position, TenantId
from services.events.errors import MoveInterrupted
from services.events.places.store import CARRIED, Claim, Openers, PlaceStore
from services.plumbing.logging import get_logger

LEASE_S: Final = 10.0
"""So long a log waits for the next mover when one was killed; it is read and written meanwhile."""
HOLD_S: Final = 2.0
"""The longest that a log is held, in seconds. What takes longer is given up and tried again."""
HOLDS_MAX: Final = 8
"""So often it is tried before a mover gives up for now."""
TAIL_COUNT: Final = 500
"""A log is held once no more records than that are left to be copied."""
_PORTION_BYTES: Final = 4 * 2**20
"""Of records that are copied together. As text they are twice as large."""
_HELD_PORTION_BYTES: Final = 32 * 2**10
"""The same while the log is held. No more than fits on the way to a process that has stopped: a
database that waits until somebody reads what it says ends no transaction for being idle.
"""
_DIGEST_COUNT_MIN, _DIGEST_COUNT_MAX = 100, 20_000
"""Records compared at once: more while that takes no time, and fewer where they are large."""
_DIGEST_S: Final = 0.5
_ROWS_AT_A_TIME: Final = 500
_SNAPSHOTS_AT_A_TIME: Final = 4
"""Each may have some MiB."""

_log = get_logger("places")


async def move(tenant: TenantId, source_place: str, opens: Openers) -> bool:
    """Move the log of `tenant` from `source_place` to where it is to go. False when another process
    does, or there is nothing to do.

    Takes as long as copying takes, and twice that: it rests for as long as it works. Raises
    `MoveInterrupted`, and what the places raise; whatever it raises, the log is in one place.
    """
    async with opens[source_place]() as source:
        claim = await source.claim(tenant, LEASE_S)
        if claim is None:
            return False
        try:
            async with _opened(opens, claim.moving_to) as target:
                await _Move(tenant, source_place, claim, source, target).run()
        except (MoveInterrupted, asyncio.CancelledError):
            # The next mover may begin at once; where the database is away it waits for the lease.
            with suppress(Exception):
                await source.renew(tenant, claim.move, 0)
            raise
    return True


def _opened(opens: Openers, place: str) -> AbstractAsyncContextManager[PlaceStore]:
    if place not in opens:
        raise MoveInterrupted(f"there is no place {place} in this process")
    return opens[place]()


class _Move:
    """One move of one log, by one mover."""

    def __init__(
        self,
        tenant: TenantId,
        source_place: str,
        claim: Claim,
        source: PlaceStore,
        target: PlaceStore,
    ) -> None:
        self._tenant = tenant
        self._source_place = source_place
        self._number, self._goal = claim
        self._source = source
        self._target = target
        self._copied = NO_POSITION
        self._compared = NO_POSITION
        """Up to here both hold the same, as their digests say."""
        self._digest_count = _DIGEST_COUNT_MIN
        self._renewed_s = time.monotonic()

    async def run(self) -> None:
        if not await self._target.begin(self._tenant, self._source_place, self._number):
            raise MoveInterrupted(f"{self._goal} does not take the log")
        for tries in range(HOLDS_MAX):
            # What an earlier mover copied, or a hold that was given up.
            self._copied = await self._target.head(self._tenant)
            await self._compare()
            # Fewer each time: they may be large.
            await self._copy(max(1, TAIL_COUNT >> 2 * tries))
            # What is the same already is not copied while nobody may write.
            await self._carry_rows()
            if await self._left():
                await self._target.arrive(self._tenant, self._number)
                _log.info("a log has moved", tenant=self._tenant, place=self._goal)
                return
        raise MoveInterrupted(f"the log could not be held for {HOLD_S:g} s that are enough")

    async def _left(self) -> bool:
        """Whether the log is at its goal now; else it could not be held for long enough."""
        try:
            async with (
                asyncio.timeout(HOLD_S),
                self._source.held(self._tenant, self._number) as is_held,
            ):
                if not is_held:
                    raise MoveInterrupted("another move of the log has begun")
                await self._copy(0)
                await self._carry_rows()
                if await self._target.head(self._tenant) != self._copied:
                    raise MoveInterrupted("the copy does not end where the log does")
                if not await self._source.leave(self._tenant, self._number, self._goal):
                    raise MoveInterrupted("another move of the log has begun")
        except TimeoutError:
            return await self._is_gone()
        return True

    async def _is_gone(self) -> bool:
        """The time may have been up while the log left."""
        placed = await self._source.placed(self._tenant)
        return placed is not None and placed.moved_to == self._goal and placed.move == self._number

    async def _copy(self, left_max: int) -> None:
        """Copy until so many records are left, resting between portions unless all are to come."""
        while True:
            started_s = time.monotonic()
            bytes_max = _PORTION_BYTES if left_max else _HELD_PORTION_BYTES
            copied = await self._source.records(self._tenant, self._copied, bytes_max)
            if copied is None:
                return
            if not await self._target.receive(self._tenant, self._number, self._copied, copied):
                raise MoveInterrupted("another mover has the log")
            self._copied = copied.upto
            await self._compare()
            if left_max:
                await self._renew()
                if await self._source.head(self._tenant) - self._copied <= left_max:
                    return
                await asyncio.sleep(time.monotonic() - started_s)

    async def _compare(self) -> None:
        """See that what is copied is what the log holds; else it is copied anew."""
        while self._compared < self._copied:
            started_s = time.monotonic()
            upto = Position(min(self._copied, self._compared + self._digest_count))
            there, here = await asyncio.gather(
                self._source.digest(self._tenant, self._compared, upto),
                self._target.digest(self._tenant, self._compared, upto),
            )
            if there != here:
                await self._discard()
                raise MoveInterrupted(f"the copy differed behind position {self._compared}")
            self._compared = upto
            is_slow = time.monotonic() - started_s > _DIGEST_S
            count = self._digest_count // 4 if is_slow else self._digest_count * 2
            self._digest_count = max(_DIGEST_COUNT_MIN, min(_DIGEST_COUNT_MAX, count))
            if self._copied - self._compared:
                await self._renew()

    async def _discard(self) -> None:
        _log.warning(
            "a copy is not the log, and is made anew", tenant=self._tenant, place=self._goal
        )
        while not await self._target.discard(self._tenant, self._number):
            await self._renew()

    async def _carry_rows(self) -> None:
        """Make what belongs to the log the same, table by table."""
        for table in CARRIED:
            there, here = await asyncio.gather(
                self._source.hashes(self._tenant, table), self._target.hashes(self._tenant, table)
            )
            if there != here:
                await self._exchange(table, sorted(here - there), sorted(there - here))

    async def _exchange(self, table: str, lost: Sequence[str], gained: Sequence[str]) -> None:
        step = _SNAPSHOTS_AT_A_TIME if table == "snapshots" else _ROWS_AT_A_TIME
        for first in range(0, max(len(lost), len(gained)), step):
            portion = slice(first, first + step)
            rows = await self._source.rows(self._tenant, table, gained[portion])
            if not await self._target.exchange(
                self._tenant, self._number, table, lost[portion], rows
            ):
                raise MoveInterrupted("another mover has the log")

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed_s < LEASE_S / 4:
            return
        if not await self._source.renew(self._tenant, self._number, LEASE_S):
            raise MoveInterrupted("another mover has the log")
        self._renewed_s = time.monotonic()
