"""Which database each log is in, and connections to it. Knows no records.

The first place knows where every log is, and is asked once. What is known may be old: a statement
about a log that is elsewhere is refused in its own transaction, see 0018_place_logs.sql, and says
where. So it is looked for there, and the caller is told only when that takes too long.

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


class Home(NamedTuple):
    """Where a log is."""

    place: str
    move: int
    """Since which move."""


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
        self._homes: OrderedDict[TenantId, Home] = OrderedDict()
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
        home = self._homes.get(tenant)
        return home.place if home else self._default

    async def home(self, tenant: TenantId) -> str:
        """Where a log is, as far as is known. Asks once of each log that is not remembered.

        Raises `LogMoved` when its place knows nothing of it.
        """
        if len(self._databases) == 1:
            return self._default
        home = self._homes.get(tenant)
        if home is None:
            home = await self._looked_up(tenant)
            self.learn(tenant, home)
        else:
            self._homes.move_to_end(tenant)
        return home.place

    def lender(self, place: str) -> Lender:
        """The database of a place. Raises `LogMoved` for one that this process does not have."""
        try:
            return self._databases[place]
        except KeyError:
            message = f"the log is at the place {place}, which this process does not know"
            raise LogMoved(message, retry_after_s=_LOST_RETRY_AFTER_S) from None

    def learn(self, tenant: TenantId, home: Home) -> None:
        """Remember where a log is."""
        self._homes[tenant] = home
        self._homes.move_to_end(tenant)
        if len(self._homes) > LOG_COUNT_MAX:
            self._homes.popitem(last=False)

    async def refused(self, tenant: TenantId, at: str, error: asyncpg.PostgresError) -> LogMoved:
        """Note what a statement was told at a place that refused it; what its caller is told."""
        told = Home(str(error.detail), int(str(error.hint)))
        self._move_count += 1
        # Whoever was sent to a place by a move, and is sent back by the same, is there before the
        # log has arrived: nobody else may be left to see to that.
        is_due = self._homes.get(tenant) == Home(at, told.move)
        if is_due and await self._arrive(at, tenant, told.move):
            _log.info("a log has arrived", tenant=tenant, place=at)
        else:
            self.learn(tenant, told)
        return LogMoved("the log has moved to another place", retry_after_s=_RETRY_AFTER_S)

    async def _looked_up(self, tenant: TenantId) -> Home:
        told = await self._told_at(self._default, tenant)
        if told is None or told.place == self._default:
            return told or Home(self._default, 0)
        # Whatever leaves for a place is known there before. One that is not is in another database
        # than this URL leads to: it would begin anew there, as a second log.
        if await self._told_at(told.place, tenant) is None:
            message = f"the log is at the place {told.place}, whose database does not know it"
            raise LogMoved(message, retry_after_s=_LOST_RETRY_AFTER_S)
        return told

    async def _told_at(self, place: str, tenant: TenantId) -> Home | None:
        """Where a log is as far as a place knows."""
        async with self.lender(place).connection() as connection:
            row = await connection.fetchrow(
                load("services.events.postgres.sql", "select_home"), tenant
            )
        return None if row is None else Home(row["moved_to"] or place, row["move"])


class _Lent:
    """A connection to where a log is."""

    __slots__ = ("_lent", "_place", "_places", "_tenant")

    def __init__(self, places: Places, tenant: TenantId) -> None:
        self._places = places
        self._tenant = tenant

    async def __aenter__(self) -> Connection:
        self._place = await self._places.home(self._tenant)
        self._lent = self._places.lender(self._place).connection()
        return await self._lent.__aenter__()

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
