"""Lists the logs of all tenants, in the one role that sees them all and nothing that is in them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from girih.ids import TenantId
from services.events.postgres import isolation
from services.events.settings import Settings
from services.events.store import ListedLog
from services.plumbing.errors import DatabaseUnavailable, ServiceError
from services.plumbing.postgres import database
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE: Final = "girih_events_lister"
APPLICATION_NAME: Final = "girih-events-lister"


class Listing:
    """The logs that there are, over one connection that is opened when somebody asks."""

    def __init__(self, settings: Settings, is_open: Callable[[], bool]) -> None:
        """`is_open` tells whether the schema is there."""
        self._settings = settings
        self._is_open = is_open
        self._turn = asyncio.Lock()
        self._opened = AsyncExitStack()
        self._connection: RawConnection | None = None

    async def page(self, behind: int, count_max: int) -> Sequence[ListedLog]:
        """The logs behind one by its number. Raises DatabaseUnavailable, also for a login that
        may not work in the role, and DatabaseBusy.
        """
        return await self._fetch("select_logs", behind, count_max)

    async def of(self, tenants: Sequence[TenantId]) -> Sequence[ListedLog]:
        """The logs of some tenants, as far as they are known here. Raises the same."""
        return await self._fetch("select_logs_of", tenants)

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[ListedLog]:
        if not self._is_open():
            raise DatabaseUnavailable("the database has not answered yet")
        async with self._turn:
            try:
                connection = await self._open()
                with refusals_translated():
                    rows = await connection.fetch(
                        load("services.events.postgres.sql.logs", statement), *arguments
                    )
            except (ServiceError, asyncio.CancelledError):
                await self._close()
                raise
        return [ListedLog(*row) for row in rows]

    async def close(self) -> None:
        """List nothing any more."""
        async with self._turn:
            await self._close()

    async def _open(self) -> RawConnection:
        if self._connection is None or self._connection.is_closed():
            await self._close()
            self._connection = await self._opened.enter_async_context(
                database.connect(self._settings, APPLICATION_NAME, role=ROLE)
            )
        return self._connection

    async def _close(self) -> None:
        self._connection = None
        await self._opened.aclose()


async def placements(connection: RawConnection) -> tuple[str, Mapping[str | None, int]]:
    """Which database a connection leads to, and how many logs are at each place as far as is known
    there; None is there. Raises DatabaseUnavailable for a login that may not work in either role.
    """
    package = "services.events.postgres.sql"
    with refusals_translated():
        async with connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL ROLE {isolation.ROLE}")
            here = await connection.fetchval(load(package, "select_place"))
            await connection.execute(f"SET LOCAL ROLE {ROLE}")
            rows = await connection.fetch(load(f"{package}.logs", "select_placements"))
    return str(here), {row["place"]: row["log_count"] for row in rows}
