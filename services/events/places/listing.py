"""Lists the logs of all places, each once, with where it is. Knows no database."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from girih.ids import NO_POSITION, Position, TenantId
from services.events.store import ListedLog
from services.plumbing.errors import ServiceError

_HOPS_MAX: Final = 16
"""Places that logs are looked for in, one after the other."""
_PLACE_S: Final = 2.0
"""So long a place may take to answer."""


class LogPages(Protocol):
    """Who knows which logs one place knows of."""

    async def page(self, behind: int, count_max: int) -> Sequence[ListedLog]:
        """The logs behind one by its number, in the order in which they began."""

    async def of(self, tenants: Sequence[TenantId]) -> Sequence[ListedLog]:
        """The logs of some tenants, as far as they are known there."""


class LocatedLog(NamedTuple):
    """A log, and where it is."""

    number: int
    tenant: TenantId
    place: str
    moving_to: str = ""
    """Empty while it stays."""
    head: Position | None = None
    """None when its place does not answer."""
    copied: Position = NO_POSITION
    """Up to here it is there where it goes."""


class LogListing:
    """The logs of all tenants. The first place knows of all."""

    def __init__(self, places: Mapping[str, LogPages]) -> None:
        self._places = places
        self._default = next(iter(places))

    async def page(self, behind: int, count_max: int) -> Sequence[LocatedLog]:
        """The logs behind one by its number. Raises what the first place does."""
        listed = await self._places[self._default].page(behind, count_max)
        located = {log.tenant: _located(log, log.number, self._default) for log in listed}
        away = {log.tenant: log.moved_to for log in listed if log.moved_to is not None}
        for _ in range(_HOPS_MAX):
            if not away:
                break
            away = await self._look(located, away)
        goals = {log.tenant: log.moving_to for log in located.values() if log.moving_to}
        for _, logs in await self._of(goals):
            for log in logs:
                located[log.tenant] = located[log.tenant]._replace(copied=log.head)
        return list(located.values())

    async def _look(
        self, located: dict[TenantId, LocatedLog], away: Mapping[TenantId, str]
    ) -> dict[TenantId, str]:
        """Look for logs at those places; answers for which it is another one."""
        for tenant, place in away.items():
            located[tenant] = LocatedLog(located[tenant].number, tenant, place)
        further: dict[TenantId, str] = {}
        for place, logs in await self._of(away):
            for log in logs:
                located[log.tenant] = _located(log, located[log.tenant].number, place)
                if log.moved_to is not None:
                    further[log.tenant] = log.moved_to
        return further

    async def _of(
        self, places: Mapping[TenantId, str]
    ) -> Sequence[tuple[str, Sequence[ListedLog]]]:
        """What places know of logs; of those that do not answer nothing."""
        by_place: dict[str, list[TenantId]] = {}
        for tenant, place in places.items():
            by_place.setdefault(place, []).append(tenant)
        answers = await asyncio.gather(*[self._answer(*one) for one in by_place.items()])
        return list(zip(by_place, answers, strict=True))

    async def _answer(self, place: str, tenants: Sequence[TenantId]) -> Sequence[ListedLog]:
        if place not in self._places:
            return ()
        try:
            async with asyncio.timeout(_PLACE_S):
                return await self._places[place].of(tenants)
        except (ServiceError, TimeoutError):
            return ()


def _located(log: ListedLog, number: int, place: str) -> LocatedLog:
    return LocatedLog(number, log.tenant, place, log.moving_to or "", log.head)
