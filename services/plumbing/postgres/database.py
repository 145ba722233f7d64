"""Connections to PostgreSQL: a pool that never hangs, and its failures by name.

This and the stores are the only doors to asyncpg. It knows no table.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.plumbing.errors import CannotRun, DatabaseUnavailable, ResourceExhausted
from services.plumbing.logging import get_logger
from services.plumbing.retry import Backoff
from services.plumbing.settings import EX_CONFIG, PoolSettings

Pool = asyncpg.Pool
Connection = PoolConnectionProxy
RawConnection = asyncpg.Connection
"""One that belongs to no pool."""

_RETRY_AFTER_S = 1.0
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0
_LISTENER_CHECK_S = 5.0

_log = get_logger("database")


class DatabaseBusy(ResourceExhausted):
    """No connection came free in time, or a statement or lock took too long."""

    reason = "DATABASE_BUSY"


class UnsafeDatabase(CannotRun):
    """The database would lose what it acknowledged, or show it to whom it does not belong."""

    exit_code = EX_CONFIG


@asynccontextmanager
async def open_pool(
    settings: PoolSettings, application_name: str, *, role: str = ""
) -> AsyncIterator[Pool]:
    """A pool that is open inside the block, and closed after it even if connections hang.

    Its connections work as `role` when one is named, and else as the login of the URL.
    Raises `DatabaseUnavailable` when the database cannot be reached at first; see
    `wait_for_database`.
    """
    options = _server_settings(settings, application_name) | ({"role": role} if role else {})
    with translate():
        pool = await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=settings.pool_size_min,
            max_size=settings.pool_size_max,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            timeout=settings.database_connect_timeout_s,
            command_timeout=settings.command_timeout_s,
            server_settings=options,
            reset=_keep_session,
        )
    try:
        yield pool
    finally:
        await _close(pool)


async def _keep_session(_connection: object) -> None:
    """Nothing to reset: no statement of ours outlives its transaction in the session.

    asyncpg's own reset would cost every use of a connection another round trip.
    """


@asynccontextmanager
async def connect(settings: PoolSettings, application_name: str) -> AsyncIterator[RawConnection]:
    """One connection for the block, as the login of the URL. Failures come out by name."""
    with translate():
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(),
            timeout=settings.database_connect_timeout_s,
            command_timeout=settings.command_timeout_s,
            server_settings=_server_settings(settings, application_name),
        )
        try:
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
    async with connect(settings, application_name) as connection:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(channel, lambda *args: on_notification(str(args[-1])))
        connected()
        while not await _is_set_within(lost, _LISTENER_CHECK_S):
            await connection.execute("SELECT", timeout=_LISTENER_CHECK_S)
    raise DatabaseUnavailable("the connection that listens was lost")


@asynccontextmanager
async def acquire(pool: Pool, timeout_s: float) -> AsyncIterator[Connection]:
    """A connection for the block. Failures inside it come out by name, see `translate`.

    Raises `DatabaseBusy` when all connections stay in use for `timeout_s`, and
    `DatabaseUnavailable` when none can be opened.
    """
    with translate():
        try:
            connection = await pool.acquire(timeout=timeout_s)
        except TimeoutError as error:
            if pool.get_size() < pool.get_max_size():
                raise _unavailable(error) from error
            raise DatabaseBusy(
                "no database connection came free in time", retry_after_s=_RETRY_AFTER_S
            ) from error
        try:
            yield connection
        finally:
            # Resetting a connection whose server is gone must not keep the caller waiting.
            await pool.release(connection, timeout=timeout_s)


@contextmanager
def translate() -> Iterator[None]:
    """Turn what asyncpg and the network raise inside the block into named errors.

    What the caller's SQL did wrong (constraints, syntax) passes: the store knows what it means.
    """
    try:
        yield
    except _BUSY as error:
        raise DatabaseBusy(
            "the database is too busy to answer in time", retry_after_s=_RETRY_AFTER_S
        ) from error
    except _GONE as error:
        raise _unavailable(error) from error
    except asyncpg.InterfaceError as error:
        # Raised for misuse as well, which is a bug and stays one.
        if _is_closed(error):
            raise _unavailable(error) from error
        raise


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
        raise DatabaseUnavailable(message, retry_after_s=_RETRY_AFTER_S) from error


async def lost_guarantees(connection: RawConnection | Pool) -> list[str]:
    """Settings without which what the database acknowledges does not survive a power cut."""
    with translate():
        off = await connection.fetch(
            "SELECT name FROM pg_settings WHERE setting = 'off' AND name = ANY ($1) ORDER BY name",
            ["fsync", "full_page_writes", "synchronous_commit"],
        )
    return [row["name"] for row in off]


_GONE = (
    OSError,  # ConnectionError and name resolution among them, and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, cannot connect now
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # the database itself is missing
    asyncpg.ReadOnlySQLTransactionError,  # a standby: the primary is elsewhere by now
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.PostgresIOError,
    asyncpg.InternalClientError,
)
# Looked at first: some of these are kinds of the above.
_BUSY = (
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    _log.warning("the database cannot be reached", problem=f"{type(error).__name__}: {error}")
    return DatabaseUnavailable("the database cannot be reached", retry_after_s=_RETRY_AFTER_S)


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()


def _is_closed(error: asyncpg.InterfaceError) -> bool:
    return "closed" in str(error) or "closing" in str(error)


async def _problem(dsn: str) -> str | None:
    try:
        connection = await asyncpg.connect(dsn, timeout=5.0)
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
        # With limits as parameters the planner expects far more rows than come, and would
        # compile for longer than the statement runs.
        "jit": "off",
        "timezone": "UTC",
    }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1e3)))


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(5.0):
            await pool.close()
    except TimeoutError:
        pool.terminate()
