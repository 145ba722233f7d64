"""The database behind a process that serves: its connections, and whether its schema is there yet.

Knows no schema: what is migrated, as which role is worked and what must hold is told by a subclass.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple, cast

import asyncpg
from prometheus_client import CollectorRegistry

from services.plumbing.errors import DatabaseUnavailable, ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.postgres import database
from services.plumbing.postgres.database import Connection, Pool
from services.plumbing.postgres.failures import (
    RETRY_AFTER_S,
    UnsafeDatabase,
    refusals_translated,
)
from services.plumbing.postgres.migrations import MigrationTimeout
from services.plumbing.postgres.observing import (
    DatabaseMetrics,
    StatementObserver,
    count_pool,
    waited_for_connection,
)
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load
from services.plumbing.settings import MigratingSettings

_STATUS_TIMEOUT_S = 2.0
_RETRY_S = 1.0
_FIRST_RETRY_S = 0.05

_log = get_logger("database")


class _ServerState(NamedTuple):
    version: str
    is_read_only: bool
    """Nothing may be written: a setting says so, and may be reset."""
    is_outdated: bool
    """The session was told otherwise than one that begins now."""


class ServedDatabase(ABC):
    """The connections of this process, lent once the schema is there."""

    application_name: ClassVar[str]
    """What its connections are called in the database."""
    role: ClassVar[str]
    """What they work as, whatever they log in as."""
    listener_name: ClassVar[str]
    """What the connection is called that listens for the notifications of other processes."""
    channel: ClassVar[str]
    """What processes notify each other on."""

    def __init__(self, settings: MigratingSettings) -> None:
        self._settings = settings
        self._pool: Pool | None = None
        self._opened = asyncio.Event()
        self._user_count = 0
        self._place = ""
        self._began_s = time.monotonic()
        self._metrics: DatabaseMetrics | None = None
        self.opened_count = 0
        """Connections opened so far."""
        self.replaced_count = 0
        """How often they came to lead to a server that was restarted, or to another database."""

    def count(self, registry: CollectorRegistry, process: str) -> None:
        """Count from now on what is asked of the database, and how the pool of `process` is used.

        Called before the database is opened.
        """
        self._metrics = DatabaseMetrics(registry)
        count_pool(self, registry, process)

    def count_with(self, other: "ServedDatabase") -> None:
        """Count what is asked of this one in the numbers of another, but for its pool."""
        self._metrics = other._metrics

    @abstractmethod
    async def migrate(self, url: str, timeout_s: float) -> None:
        """Bring the schema up to date, as a login that may."""

    @abstractmethod
    async def inspect(self, connection: RawConnection) -> None:
        """Raise `UnsafeDatabase` when the database is not fit to work on."""

    @abstractmethod
    async def place(self, connection: RawConnection) -> str:
        """Where a connection leads: another text for a server restarted or replaced."""

    async def keep_open(self) -> None:
        """Migrate and connect as soon as the database answers; then runs for ever.

        The process serves meanwhile, saying that it cannot, so that it needs no restart
        when the database comes up after it. Raises what `inspect` does.
        """
        while True:
            try:
                await self._migrate()
                async with database.connect(self._settings, self.application_name) as connection:
                    await self.inspect(connection)
                async with database.open_pool(
                    self._settings,
                    self.application_name,
                    role=self.role,
                    opened=self._connection_opened,
                    observe=StatementObserver(self._metrics),
                ) as pool:
                    await self._lend(pool)
            except (ServiceError, MigrationTimeout) as error:
                _log.warning("the database is not ready", problem=str(error))
                await asyncio.sleep(_RETRY_S)

    async def until_open(self) -> None:
        """Return once connections are lent: the schema is there, and is fit to work on."""
        await self._opened.wait()

    @property
    def is_open(self) -> bool:
        """Connections are lent now."""
        return self._pool is not None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the block.

        Raises `DatabaseUnavailable` while the database or the schema is not there, and
        `DatabaseBusy` when no connection comes free in time; also for what goes wrong
        inside the block.
        """
        if self._pool is None:
            raise DatabaseUnavailable(
                "the database has not answered yet", retry_after_s=self._retry_after_s()
            )
        self._user_count += 1
        asked_s = time.monotonic()
        try:
            async with database.acquire(
                self._pool, self._settings.pool_acquire_timeout_s
            ) as connection:
                waited_s = time.monotonic() - asked_s
                waited_for_connection(waited_s)
                if self._metrics is not None:
                    self._metrics.waited(waited_s)
                yield connection
        except ServiceError as error:
            if self._metrics is not None:
                self._metrics.refused(error)
            raise
        finally:
            self._user_count -= 1

    async def notify(self, texts: Sequence[str]) -> None:
        """Pass texts to every process on this database, this one included."""
        with refusals_translated():
            async with self.connection() as connection:
                await connection.execute(_sql("notify"), self.channel, texts)

    async def listen(self, received: Callable[[str], None], connected: Callable[[], None]) -> None:
        """Call `received` for every text told after `connected` was called.

        Goes on until the connection is lost, and raises `DatabaseUnavailable` then.
        """
        await database.listen(self._settings, self.listener_name, self.channel, received, connected)

    async def probe(self) -> None:
        """Raises unless the store could work now; waits for the database to be opened.

        Also when nothing may be written, be it for now: connections that were told otherwise
        when they began are opened anew.
        """
        await self._opened.wait()
        state = await self._server_state()
        if state.is_outdated and self._pool is not None:
            await self._pool.renew()
            state = await self._server_state()
        if state.is_read_only:
            raise DatabaseUnavailable("the database lets nobody write")

    async def measure(self) -> tuple[float | None, str]:
        """How many milliseconds the database takes to answer, None when it does not within two
        seconds; and the server's version.
        """
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                state = await self._server_state()
        except (ServiceError, TimeoutError):
            return None, ""
        return 1e3 * (time.perf_counter() - started_s), state.version

    @property
    def seen_place(self) -> str:
        """Where the connection led that was opened last; empty before the first."""
        return self._place

    @property
    def pool_size(self) -> int:
        """Connections open now."""
        return 0 if self._pool is None else self._pool.get_size()

    @property
    def pool_idle(self) -> int:
        """Of those, connections doing nothing."""
        return 0 if self._pool is None else self._pool.get_idle_size()

    @property
    def pool_size_max(self) -> int:
        """Connections opened at most."""
        return self._settings.pool_size_max

    @property
    def pool_waiting(self) -> int:
        """Calls that wait for a connection."""
        return max(0, self._user_count - self._settings.pool_size_max)

    def _retry_after_s(self) -> float:
        """When to come again: soon while this process starts, since those that start with it
        wait for nothing else, and as ever once it takes its time."""
        waited_s = time.monotonic() - self._began_s
        return min(max(_FIRST_RETRY_S, waited_s / 8), RETRY_AFTER_S)

    async def _migrate(self) -> None:
        """Bring the schema up to date, or wait for the database if that is not our task."""
        url, timeout_s = self._settings.migrating_url, self._settings.database_start_timeout_s
        if url is None:
            dsn = self._settings.database_url.get_secret_value()
            await database.wait_for_database(dsn, timeout_s)
        else:
            await self.migrate(url, timeout_s)

    async def _connection_opened(self, connection: RawConnection) -> None:
        """A connection that leads elsewhere than the others did takes them along: they lead to
        a server that was restarted or replaced.
        """
        self.opened_count += 1
        if await self._is_elsewhere(connection) and self._pool is not None:
            _log.warning("the database was restarted, or is another one", place=self._place)
            await self._pool.expire_connections()

    async def _is_elsewhere(self, connection: RawConnection) -> bool:
        """Note where a connection leads; whether the one before it led elsewhere."""
        place = await self.place(connection)
        if place == self._place:
            return False
        self._place = place
        self.replaced_count += 1
        return True

    async def _lend(self, pool: Pool) -> None:
        await check_role(pool, self.role)
        self._pool = pool
        self._opened.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._pool = None
            self._opened.clear()

    async def _server_state(self) -> _ServerState:
        with refusals_translated():
            async with self.connection() as connection:
                row = await connection.fetchrow(_sql("select_server_state"))
        return _ServerState(*cast("asyncpg.Record", row))


async def check_role(pool: Pool, role: str) -> None:
    """Raises `UnsafeDatabase` when connections do not work as the role that they asked for.

    A pooler between us and the database may drop what is asked for on connecting.
    """
    with refusals_translated():
        current = await pool.fetchval("SELECT current_user::text")
    if current != role:
        raise UnsafeDatabase(f"connections work as {current} and not as {role}")


def _sql(name: str) -> str:
    return load("services.plumbing.postgres.statements", name)
