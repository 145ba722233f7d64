"""Which logs are to be moved, and what is left behind of them: looked for again and again.

Whatever is to be done stands in the databases, so a process may be killed at any time, and
another goes on.
"""

import asyncio
import time
from typing import Final, Protocol

from girih.ids import TenantId
from services.events.places.mover import move
from services.events.places.store import Openers, PlacedLog, PlaceStore
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.tasks import set_within

_WORK_COUNT: Final = 1_000
"""Logs looked at in one turn."""
_COUNT_S: Final = 30.0
"""So often it is counted how many logs there are in a place."""
_FAILED_PAUSE_S: Final = 5.0

_log = get_logger("places")


class MoveInstruments(Protocol):
    """Where it is shown where logs are."""

    def looked(self, place: str, *, moving_count: int, copy_count: int) -> None:
        """So many are to be moved from a place, and of so many there is a copy that goes."""

    def counted(self, place: str, log_count: int) -> None:
        """So many are there."""


class Moves:
    """The moves of this process: from each place one log at a time."""

    def __init__(self, opens: Openers, instruments: MoveInstruments, interval_s: float) -> None:
        """Every `interval_s` it is looked what there is to do."""
        self._opens = opens
        self._default = next(iter(opens))
        self._instruments = instruments
        self._interval_s = interval_s
        self._nudged = {place: asyncio.Event() for place in opens}
        self._not_before_s: dict[tuple[str, TenantId], float] = {}
        """Of what failed: when it is tried again."""

    def nudge(self, place: str) -> None:
        """There is something to do at a place."""
        self._nudged[place].set()

    async def run(self, place: str) -> None:
        """Do what there is to do at a place, again and again; runs for ever."""
        while True:
            try:
                async with self._opens[place]() as store:
                    await self._look(place, store)
            except ServiceError as error:
                _log.warning("logs are not moved from a place", place=place, problem=str(error))
                await asyncio.sleep(_FAILED_PAUSE_S)

    async def _look(self, place: str, store: PlaceStore) -> None:
        counted_s = -_COUNT_S
        while True:
            await set_within(self._nudged[place], self._interval_s)
            self._nudged[place].clear()
            if time.monotonic() - counted_s >= _COUNT_S:
                self._instruments.counted(place, await store.count())
                counted_s = time.monotonic()
            work = await store.work(_WORK_COUNT)
            moving = [log for log in work if log.moved_to is None]
            self._instruments.looked(
                place, moving_count=len(moving), copy_count=len(work) - len(moving)
            )
            there = {(place, log.tenant) for log in work}
            for gone in [one for one in self._not_before_s if one[0] == place and one not in there]:
                del self._not_before_s[gone]
            for log in work:
                if self._not_before_s.get((place, log.tenant), 0.0) <= time.monotonic():
                    await self._do(place, store, log)

    async def _do(self, place: str, store: PlaceStore, log: PlacedLog) -> None:
        self._not_before_s.pop((place, log.tenant), None)
        try:
            if log.moved_to is None:
                await move(log.tenant, place, self._opens)
            elif log.moved_to in self._opens:
                await self._tidy(place, store, log, log.moved_to)
        except ServiceError as error:
            # Its other place may be away, which keeps nobody else from being moved.
            self._not_before_s[place, log.tenant] = time.monotonic() + _FAILED_PAUSE_S
            _log.warning(
                "a log is not moved for now", tenant=log.tenant, place=place, problem=str(error)
            )

    async def _tidy(self, place: str, store: PlaceStore, log: PlacedLog, where: str) -> None:
        """See to a copy of a log that is at `where`, as this place knows."""
        async with self._opens[where]() as other:
            there = await other.placed(log.tenant)
            if there is None or there.moving_to == place:
                return
            if _left_for(log, there, place):
                await other.arrive(log.tenant, log.move)
            elif _left_for(there, log, where):
                await store.arrive(log.tenant, there.move)
            elif log.is_awaited or log.is_old:
                await self._point(log.tenant, where, there)
                await _discard(store, log)

    async def _point(self, tenant: TenantId, where: str, there: PlacedLog) -> None:
        """Have the place that knows of all logs know where this one is."""
        if there.moved_to is None and where != self._default:
            async with self._opens[self._default]() as default:
                await default.point(tenant, where, there.move)


def _left_for(left: PlacedLog, awaited: PlacedLog, left_from: str) -> bool:
    """Whether a log left one place for another by a move, and has not arrived."""
    return (
        awaited.is_awaited
        and awaited.moved_to == left_from
        and not left.is_awaited
        and left.moved_to is not None
        and left.move == awaited.move
    )


async def _discard(store: PlaceStore, log: PlacedLog) -> None:
    """Delete a copy, and rest for as long as each step takes: appends and reads come first."""
    while True:
        started_s = time.monotonic()
        if await store.discard(log.tenant, log.move):
            _log.info("a copy of a log that is elsewhere was deleted", tenant=log.tenant)
            return
        await asyncio.sleep(time.monotonic() - started_s)
