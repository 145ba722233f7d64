"""What operators ask about where logs are, and where they are to be. Knows no wire."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from girih.ids import NO_POSITION, Position, TenantId
from services.events.errors import (
    LogMoved,
    LogMoving,
    LogNotEmpty,
    LogNotFound,
    MoveInterrupted,
    PlaceUnknown,
)
from services.events.places.mover import move
from services.events.places.store import Openers, PlacedLog

_HOPS_MAX: Final = 16
"""Places that a log is looked for in, one after the other."""
_PLACE_S: Final = 15.0
"""So long a log without events may take to be placed: when a mover died, its lease has run out."""
_LOOK_S: Final = 0.05


class Placement(NamedTuple):
    """Where a log is, and how far it is on its way."""

    place: str
    moving_to: str = ""
    """Empty while it stays."""
    head: Position = NO_POSITION
    copied: Position = NO_POSITION
    """Up to here it is there where it goes."""


class Placing:
    """Places logs, moves them, and tells where they are."""

    def __init__(self, opens: Openers, nudge: Callable[[str], None]) -> None:
        """`nudge` is told of a place that a log is to be moved from."""
        self._opens = opens
        self._default = next(iter(opens))
        self._nudge = nudge

    async def placement(self, tenant: TenantId) -> Placement:
        """Where a log is. One that nobody has appended to is where its first event will be."""
        place, placed = await self._current(tenant)
        if placed is None:
            return Placement(place)
        async with self._opens[place]() as store:
            head = await store.head(tenant)
        goal, copied = placed.moving_to or "", NO_POSITION
        if goal in self._opens:
            async with self._opens[goal]() as store:
                copied = await store.head(tenant)
        return Placement(place, goal, head, copied)

    async def place(self, tenant: TenantId, place: str) -> Placement:
        """Have the log of a tenant be at a place before its first event.

        Raises `PlaceUnknown`, and `LogNotEmpty` when it has events: then it can be moved.
        """
        self._check(place)
        async with self._opens[self._default]() as store:
            await store.know(tenant)
        current, _ = await self._current(tenant)
        if current != place:
            async with self._opens[current]() as store:
                head = await store.head(tenant)
                if head:
                    raise LogNotEmpty(head)
                if not await store.ask(tenant, place):
                    raise _moving()
            await move(tenant, current, self._opens)
        return await self._placed(tenant, place)

    async def _placed(self, tenant: TenantId, place: str) -> Placement:
        """Once the log is there: another process may have begun to move it before this one."""
        until_s = time.monotonic() + _PLACE_S
        while (placement := await self.placement(tenant)).place != place:
            if time.monotonic() > until_s:
                raise MoveInterrupted(f"the log is still at {placement.place}")
            await asyncio.sleep(_LOOK_S)
        return placement

    async def move(self, tenant: TenantId, place: str) -> Placement:
        """Have the log be moved to a place, or stay when that is where it is. Returns at once.

        Raises `PlaceUnknown`, `LogNotFound`, and `LogMoving` while it moves elsewhere.
        """
        self._check(place)
        current, placed = await self._current(tenant)
        if placed is None:
            raise LogNotFound(f"there is no log of the tenant {tenant}")
        async with self._opens[current]() as store:
            if not await store.ask(tenant, None if current == place else place):
                raise _moving()
        self._nudge(current)
        return await self.placement(tenant)

    def _check(self, place: str) -> None:
        if place not in self._opens:
            raise PlaceUnknown.of("place", f"must be one of {', '.join(self._opens)}")

    async def _current(self, tenant: TenantId) -> tuple[str, PlacedLog | None]:
        """Where the log is, and what is known of it there."""
        place, left = self._default, None
        for _ in range(_HOPS_MAX):
            if place not in self._opens:
                raise LogMoved(f"the log is at the place {place}, which this process does not know")
            async with self._opens[place]() as store:
                placed = await store.placed(tenant)
                if placed is not None and placed.is_awaited and left and left.move == placed.move:
                    # It left for here, and whoever moved it died.
                    await store.arrive(tenant, placed.move)
                    placed = await store.placed(tenant)
            if placed is None and place != self._default:
                raise LogMoved.unknown_at(place)
            if placed is None or placed.moved_to is None:
                return place, placed
            place, left = placed.moved_to, None if placed.is_awaited else placed
        raise LogMoved("the log moves faster than it can be found")


def _moving() -> LogMoving:
    return LogMoving("the log moves to another place already, or has just moved")
