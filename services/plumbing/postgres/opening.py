"""Opens the connections of a pool. Opening belongs to the pool, not to whoever waits for it.

A caller that leaves, or whose time is up, leaves a connection that is being opened to who asks
next. Else a burst of calls that are cancelled would end the server's processes just as they
begin, as many as there were calls, and no connection would ever be there for the others.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Final

import asyncpg
from asyncpg.connection import LoggedQuery

from services.plumbing.postgres.failures import refusals_translated

RawConnection = asyncpg.Connection
"""One that belongs to no pool."""

IDLE_LIFETIME_S: Final = 300.0
"""How long a connection stays open that nobody uses."""


class GirihConnection(asyncpg.Connection):
    """A connection whose end is no failure: what does not close in time is cut off.

    asyncpg closes some connections in tasks of its own, whose failures would reach nobody.
    """

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=timeout)


Connect = Callable[..., Awaitable[RawConnection]]
Observe = Callable[[LoggedQuery], None]
"""Called with each statement that has ended."""


class Opener:
    """Opens one connection for each that asks, and never more than have asked.

    Errors are `DatabaseUnavailable` and `DatabaseBusy`: whatever the server says, it is away.
    """

    def __init__(
        self,
        opened: Callable[[RawConnection], Awaitable[None]] | None = None,
        connect: Connect = asyncpg.connect,
        observe: Observe | None = None,
    ) -> None:
        """`opened` is called with each new connection before anybody gets it, and `observe` with
        each statement on it from then on."""
        self._opened = opened
        self._connect = connect
        self._observe = observe
        self._opening: set[asyncio.Task[RawConnection]] = set()
        self._left: deque[asyncio.Task[RawConnection]] = deque()
        self._answered_s = time.monotonic()

    async def __call__(self, *args: object, **options: object) -> RawConnection:
        """What `asyncpg.connect` gives; asked by the pool."""
        opening = self._take_left() or self._start(*args, **options)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._leave(opening)
            raise

    def is_stuck(self, for_s: float) -> bool:
        """Whether connections are being opened, and none was for so long."""
        return bool(self._opening) and time.monotonic() - self._answered_s >= for_s

    async def close(self) -> None:
        """Open nothing any more, and close what nobody took."""
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while (left := self._take_left()) is not None:
            left.result().terminate()

    def _start(self, *args: object, **options: object) -> "asyncio.Task[RawConnection]":
        if not self._opening:
            self._answered_s = time.monotonic()
        # In a context of its own: what the connection does later is no part of this call.
        opening = asyncio.get_running_loop().create_task(
            self._open(*args, **options), name="open a connection", context=Context()
        )
        self._opening.add(opening)
        opening.add_done_callback(self._ended)
        return opening

    async def _open(self, *args: object, **options: object) -> RawConnection:
        with refusals_translated():
            connection = await self._connect(*args, **options)
            try:
                if self._opened is not None:
                    await self._opened(connection)
                if self._observe is not None:
                    connection.add_query_logger(self._observe)
            except BaseException:
                connection.terminate()
                raise
        self._answered_s = time.monotonic()
        return connection

    def _ended(self, opening: "asyncio.Task[RawConnection]") -> None:
        self._opening.discard(opening)
        if not opening.cancelled():
            opening.exception()  # whoever waited for it may have left

    def _leave(self, opening: "asyncio.Task[RawConnection]") -> None:
        self._left.append(opening)
        asyncio.get_running_loop().call_later(IDLE_LIFETIME_S, self._discard, opening)

    def _discard(self, opening: "asyncio.Task[RawConnection]") -> None:
        if opening in self._left:
            self._left.remove(opening)
            if _is_good(opening):
                opening.result().terminate()

    def _take_left(self) -> "asyncio.Task[RawConnection] | None":
        while self._left:
            opening = self._left.popleft()
            if not opening.done() or _is_good(opening):
                return opening
        return None


def _is_good(opening: "asyncio.Task[RawConnection]") -> bool:
    """Whether it has ended with a connection that is open."""
    if not opening.done() or opening.cancelled() or opening.exception() is not None:
        return False
    return not opening.result().is_closed()
