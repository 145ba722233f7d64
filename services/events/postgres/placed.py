"""Which database each log is in, and connections to it. Knows no records.

The first place knows where every log is, and is asked once. What is known may be old: a statement
about a log that is elsewhere is refused in its own transaction, see 0018_place_logs.sql, and says
where. So it is looked for there, and the caller is told only when that takes too long.

A place whose connections come to lead to another database may know nothing of a log that was there:
each log that is remembered there is looked for once more before it is used.

With one place nothing is asked and nothing is remembered.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar

import asyncpg

from girih.ids import TenantId
from services.events.errors import LogMoved
from services.plumbing.logging import get_logger
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

ELSEWHERE: Final = "GH001"
"""What a statement is refused with whose log is elsewhere."""

LOG_COUNT_MAX: Final = 20_000
"""Logs remembered, those used last."""

_TRIES: Final = 6
"""Two for a log that moved, and as many again for each move that comes in between."""
_RETRY_AFTER_S: Final = 0.1
_LOST_RETRY_AFTER_S: Final = 5.0
"""Behind that somebody has to change settings."""

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger("places")


class Lender(Protocol):
    """A database that lends connections."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block."""

    @property
    def opened_count(self) -> int:
        """How many were opened so far."""

    @property
    def replaced_count(self) -> int:
        """How often they came to lead to a server that was restarted, or to another database."""


class Location(NamedTuple):
    """Where a log is."""

    place: str
    move: int
    """Since which move."""


class _Remembered(NamedTuple):
    location: Location
    replaced_count: int
    """Of its place, when it was seen there."""


Arrive = Callable[[str, TenantId, int], Awaitable[bool]]
"""Has a log be at a place that it left for by a move; False when it did not come by it."""


async def _never(_place: str, _tenant: TenantId, _move: int) -> bool:
    return False


class Places:
    """The databases of a process, and which of them each log is in."""

    def __init__(self, databases: Mapping[str, Lender], arrive: Arrive = _never) -> None:
        """`databases` go by their names; the first knows where each log is. `arrive` is called for
        a log that has left one place, and is nowhere since who moved it died.
        """
        self._databases = databases
        self._default = next(iter(databases))
        self._arrive = arrive
        self._locations: OrderedDict[TenantId, _Remembered] = OrderedDict()
        self._move_count = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of all places, the one first that knows of all logs."""
        return tuple(self._databases)

    @property
    def opened_count(self) -> int:
        """Grows whenever a log may have become another one: with each connection that is opened,
        and each move that was noticed.
        """
        return self._move_count + sum(one.opened_count for one in self._databases.values())

    def connection(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block to where the log of `tenant` is.

        Raises what the database's does, and `LogMoved` when a statement in the block was refused
        since the log is elsewhere; then that is where the next one leads.
        """
        return _Lent(self, tenant)

    def guess(self, tenant: TenantId) -> str:
        """Where a log was last, without asking."""
        remembered = self._locations.get(tenant)
        return remembered.location.place if remembered else self._default

    async def place_of(self, tenant: TenantId) -> str:
        """Where a log is, as far as is known. Asks once of each log that is not remembered, and of
        each whose place was replaced since.

        Raises `LogMoved` when its place knows nothing of it.
        """
        if len(self._databases) == 1:
            return self._default
        remembered = self._locations.get(tenant)
        if remembered is None:
            location, replaced_count = await self._looked_up(tenant)
            self._remember(tenant, location, replaced_count)
        elif not self.is_seen(tenant):
            location, replaced_count = await self._seen_again(tenant, remembered.location.place)
            self._remember(tenant, location, replaced_count)
        else:
            location = remembered.location
            self._locations.move_to_end(tenant)
        return location.place

    def is_seen(self, tenant: TenantId) -> bool:
        """Whether a log was seen in the database that connections to its place lead to now."""
        if len(self._databases) == 1:
            return True
        remembered = self._locations.get(tenant)
        return remembered is not None and remembered.replaced_count == self._replaced_count(
            remembered.location.place
        )

    def lender(self, place: str) -> Lender:
        """The database of a place. Raises `LogMoved` for one that this process does not have."""
        try:
            return self._databases[place]
        except KeyError:
            message = f"the log is at the place {place}, which this process does not know"
            raise LogMoved(message, retry_after_s=_LOST_RETRY_AFTER_S) from None

    def learn(self, tenant: TenantId, location: Location) -> None:
        """Remember where a log is, as who knows it says."""
        self._remember(tenant, location, self._replaced_count(location.place))

    def _remember(self, tenant: TenantId, location: Location, replaced_count: int) -> None:
        self._locations[tenant] = _Remembered(location, replaced_count)
        self._locations.move_to_end(tenant)
        if len(self._locations) > LOG_COUNT_MAX:
            self._locations.popitem(last=False)

    async def refused(self, tenant: TenantId, at: str, error: asyncpg.PostgresError) -> LogMoved:
        """Note what a statement was told at a place that refused it; what its caller is told."""
        location = Location(str(error.detail), int(str(error.hint)))
        self._move_count += 1
        # Whoever was sent to a place by a move, and is sent back by the same, is there before the
        # log has arrived: nobody else may be left to see to that.
        remembered = self._locations.get(tenant)
        is_due = remembered is not None and remembered.location == Location(at, location.move)
        if is_due and await self._arrive(at, tenant, location.move):
            _log.info("a log has arrived", tenant=tenant, place=at)
        else:
            self.learn(tenant, location)
        return LogMoved("the log has moved to another place", retry_after_s=_RETRY_AFTER_S)

    def _replaced_count(self, place: str) -> int:
        database = self._databases.get(place)
        return database.replaced_count if database else 0

    async def _looked_up(self, tenant: TenantId) -> tuple[Location, int]:
        """Where a log is, and how often its place was replaced by then."""
        replaced_count = self._replaced_count(self._default)
        location = await self._location_at(self._default, tenant)
        if location is None or location.place == self._default:
            return location or Location(self._default, 0), replaced_count
        replaced_count = self._replaced_count(location.place)
        if await self._location_at(location.place, tenant) is None:
            raise _lost(location.place)
        return location, replaced_count

    async def _seen_again(self, tenant: TenantId, place: str) -> tuple[Location, int]:
        """The same, as the place tells where the log was last: `default` need not answer."""
        replaced_count = self._replaced_count(place)
        known = await self._location_at(place, tenant)
        if known is None and place != self._default:
            raise _lost(place)
        location = known or Location(place, 0)
        return location, replaced_count if location.place == place else self._replaced_count(
            location.place
        )

    async def _location_at(self, place: str, tenant: TenantId) -> Location | None:
        """Where a log is as far as a place knows."""
        async with self.lender(place).connection() as connection:
            row = await connection.fetchrow(
                load("services.events.postgres.sql", "select_home"), tenant
            )
        return None if row is None else Location(row["moved_to"] or place, row["move"])


def _lost(place: str) -> LogMoved:
    # Whatever leaves for a place is known there before. One that is not is in another database
    # than this URL leads to: it would begin anew there, as a second log.
    return LogMoved.unknown_at(place, retry_after_s=_LOST_RETRY_AFTER_S)


class _Lent:
    """A connection to where a log is."""

    __slots__ = ("_lent", "_place", "_places", "_tenant")

    def __init__(self, places: Places, tenant: TenantId) -> None:
        self._places = places
        self._tenant = tenant

    async def __aenter__(self) -> Connection:
        self._place = await self._places.place_of(self._tenant)
        self._lent = self._places.lender(self._place).connection()
        connection = await self._lent.__aenter__()
        if not self._places.is_seen(self._tenant):
            # Opened just now, and the first that leads elsewhere.
            await self._lent.__aexit__(None, None, None)
            raise LogMoved("the place of the log was replaced", retry_after_s=_RETRY_AFTER_S)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        is_ended = await self._lent.__aexit__(kind, error, trace)
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == ELSEWHERE:
            raise await self._places.refused(self._tenant, self._place, error) from error
        return is_ended


def wherever_it_is(
    method: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have `method`, which uses the log of one tenant, be called again when the log was elsewhere:
    nothing was done then."""

    @wraps(method)
    async def called(*args: P.args, **options: P.kwargs) -> T:
        for _ in range(_TRIES - 1):
            try:
                return await method(*args, **options)
            except LogMoved:
                continue
        return await method(*args, **options)

    return called
