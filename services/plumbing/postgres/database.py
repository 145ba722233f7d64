"""Connections to PostgreSQL: a pool that never hangs, and its failures by name.

This and the stores are the only doors to asyncpg. It knows no table.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from girih.backoff import Backoff
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import (
    RETRY_AFTER_S,
    DatabaseBusy,
    refusals_translated,
    translate,
    unavailable,
)
from services.plumbing.postgres.opening import (
    IDLE_LIFETIME_S,
    GirihConnection,
    Observe,
    Opener,
    RawConnection,
)
from services.plumbing.settings import PoolSettings
from services.plumbing.tasks import set_within
from services.plumbing.telemetry import tracing

Connection = PoolConnectionProxy

_RENEWAL_SPACING_S = 0.25
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0
_LISTENER_CHECK_S = 5.0

_log = get_logger("database")


class Pool(asyncpg.Pool):
    """asyncpg's pool, whose connections are opened by an `Opener`."""

    __slots__ = ("_releasing", "_renewed_s", "opener")

    def __init__(
        self,
        dsn: str,
        opener: Opener,
        **options: Any,  # noqa: ANN401 - asyncpg's
    ) -> None:
        super().__init__(
            dsn,
            connect=opener,
            connection_class=GirihConnection,
            record_class=asyncpg.Record,
            loop=None,
            **options,
        )
        self.opener = opener
        self._renewed_s = 0.0
        self._releasing: set[asyncio.Task[None]] = set()

    async def release_here(self, connection: Connection, timeout_s: float) -> None:
        """Take a connection back from who is done with it.

        As `release` does, but in no task of its own, for which whoever lends waits three turns of
        the event loop, and the next batch of a log with it. As a rule there is nothing to wait for;
        who is cancelled while there is has the connection cut off.
        """
        lent: Any = connection
        if lent._con is None:
            return  # it was closed meanwhile
        lent._con._on_release()
        await lent._holder.release(timeout_s)
        if tracing.is_on():
            # What observes a statement comes a turn behind it, and finds the span while that lasts.
            await asyncio.sleep(0)

    def take_back(self, connection: Connection, timeout_s: float) -> None:
        """Take a connection back in its own time, from who was interrupted with it.

        It may have to wait for an answer that nobody wants any more, and is cut off when that
        does not come: no caller waits for either, and neither is anybody's error.
        """
        releasing = asyncio.get_running_loop().create_task(
            self.release(connection, timeout=timeout_s), context=Context()
        )
        self._releasing.add(releasing)
        releasing.add_done_callback(self._released)

    def _released(self, releasing: "asyncio.Task[None]") -> None:
        self._releasing.discard(releasing)
        if not releasing.cancelled():
            releasing.exception()

    async def renew(self) -> None:
        """Have connections opened anew before they are lent again: what a session was told when
        it began is no longer so. Asked again within a moment it does nothing.
        """
        now_s = time.monotonic()
        if now_s - self._renewed_s >= _RENEWAL_SPACING_S:
            self._renewed_s = now_s
            await self.expire_connections()


@asynccontextmanager
async def open_pool(
    settings: PoolSettings,
    application_name: str,
    *,
    role: str = "",
    opened: Callable[[RawConnection], Awaitable[None]] | None = None,
    observe: Observe | None = None,
) -> AsyncIterator[Pool]:
    """A pool that is open inside the block, and closed after it even if connections hang.

    Its connections work as `role` when one is named, and else as the login of the URL.
    `opened` is called with each of them before it is lent the first time, and `observe` with each
    statement that has ended.
    Raises `DatabaseUnavailable` when the database cannot be reached at first; see
    `wait_for_database`.
    """
    # It tells with a traceback what the opener tells in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    options = _server_settings(settings, application_name) | ({"role": role} if role else {})
    pool = Pool(
        settings.database_url.get_secret_value(),
        Opener(opened, observe=observe),
        min_size=settings.pool_size_min,
        max_size=settings.pool_size_max,
        max_queries=50_000,
        max_inactive_connection_lifetime=IDLE_LIFETIME_S,
        timeout=settings.database_connect_timeout_s,
        command_timeout=settings.command_timeout_s,
        # What a standby shows may be older than what was read before.
        target_session_attrs="primary",
        server_settings=options,
        reset=_keep_session,
    )
    try:
        with translate():
            await pool
        yield pool
    finally:
        await _close(pool)


async def _keep_session(_connection: object) -> None:
    """Nothing to reset: no statement of ours outlives its transaction in the session.

    asyncpg's own reset would cost every use of a connection another round trip.
    """


@asynccontextmanager
async def connect(
    settings: PoolSettings, application_name: str, *, role: str = ""
) -> AsyncIterator[RawConnection]:
    """One connection for the block, as `role` when one is named, and else as the login of the
    URL. Failures come out by name.
    """
    options = _server_settings(settings, application_name) | ({"role": role} if role else {})
    with refusals_translated():
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(),
            timeout=settings.database_connect_timeout_s,
            command_timeout=settings.command_timeout_s,
            target_session_attrs=SessionAttribute.primary,
            server_settings=options,
            connection_class=GirihConnection,
        )
    try:
        with translate():
            yield connection
    finally:
        await connection.close(timeout=settings.database_connect_timeout_s)


async def listen(
    settings: PoolSettings,
    application_name: str,
    channel: str,
    on_notification: Callable[[str], None],
    connected: Callable[[], None],
) -> None:
    """Call `on_notification` with what is notified on `channel`, on a connection of its own.

    Goes on until the connection is lost, and raises `DatabaseUnavailable` then. A server
    that vanished without a word is noticed within seconds.
    """
    lost = asyncio.Event()
    with refusals_translated():
        async with connect(settings, application_name) as connection:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(channel, lambda *args: on_notification(str(args[-1])))
            connected()
            while not await set_within(lost, _LISTENER_CHECK_S):
                await connection.execute("SELECT", timeout=_LISTENER_CHECK_S)
    raise DatabaseUnavailable("the connection that listens was lost")


@asynccontextmanager
async def acquire(pool: Pool, timeout_s: float) -> AsyncIterator[Connection]:
    """A connection for the block. Failures inside it come out by name, see `translate`.

    Raises `DatabaseBusy` when no connection comes free within `timeout_s`, and
    `DatabaseUnavailable` when none can be opened.
    """
    with translate():
        try:
            connection = await pool.acquire(timeout=timeout_s)
        except TimeoutError as error:
            if pool.opener.is_stuck(timeout_s):
                raise unavailable(error) from error
            raise DatabaseBusy(
                "no database connection came free in time", retry_after_s=RETRY_AFTER_S
            ) from error
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            # Whether a session may write is told when it begins, by settings of the database
            # and of the role: one that is opened now may.
            await pool.renew()
            pool.take_back(connection, timeout_s)
            raise
        except BaseException:
            pool.take_back(connection, timeout_s)
            raise
        await pool.release_here(connection, timeout_s)


async def wait_for_database(dsn: str, timeout_s: float) -> None:
    """Return once the database answers; raise `DatabaseUnavailable` after `timeout_s`."""
    backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                problem = await _problem(dsn)
                if problem is None:
                    return
                _log.warning("waiting for the database", problem=problem)
                await asyncio.sleep(backoff.next_s())
    except TimeoutError as error:
        message = f"the database did not answer within {timeout_s:g} s"
        raise DatabaseUnavailable(message, retry_after_s=RETRY_AFTER_S) from error


async def lost_guarantees(connection: RawConnection | Pool) -> list[str]:
    """Settings without which what the database acknowledges does not survive a power cut."""
    with refusals_translated():
        off = await connection.fetch(
            "SELECT name FROM pg_settings WHERE setting = 'off' AND name = ANY ($1) ORDER BY name",
            ["fsync", "full_page_writes", "synchronous_commit"],
        )
    return [row["name"] for row in off]


async def _problem(dsn: str) -> str | None:
    try:
        connection = await asyncpg.connect(
            dsn, timeout=5.0, target_session_attrs=SessionAttribute.primary
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"{type(error).__name__}: {error}"
    await connection.close(timeout=5.0)
    return None


def _server_settings(settings: PoolSettings, application_name: str) -> dict[str, str]:
    """Bounds that the database itself keeps: a vanished client must not hold a lock."""
    return {
        "application_name": application_name,
        "statement_timeout": _milliseconds(settings.statement_timeout_s),
        "lock_timeout": _milliseconds(settings.lock_timeout_s),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_transaction_timeout_s),
        "tcp_user_timeout": _milliseconds(settings.command_timeout_s),
        # The above bounds what the database sends. One that waits for a client behind a cut
        # network sends nothing, and would hold what the client locked for hours: so it asks,
        # and hears within 11 s that nobody answers. A Unix socket takes no notice.
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        # Whoever waited for a lock must see what was committed meanwhile.
        "default_transaction_isolation": "read committed",
        # With limits as parameters the planner expects far more rows than come, and would
        # compile for longer than the statement runs.
        "jit": "off",
        # A session keeps its plans. Of one made while a table is so small that to read all of it
        # is cheapest, it would be the dearest once the table has grown, until it is analysed.
        "enable_seqscan": "off",
        "timezone": "UTC",
    }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1e3)))


async def _close(pool: Pool) -> None:
    await pool.opener.close()
    try:
        async with asyncio.timeout(5.0):
            await pool.close()
    except TimeoutError:
        pool.terminate()
