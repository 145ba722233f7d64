"""Moves records to free room nearer to the beginning of their file, in the one role that may.

It sees no record, and changes none. Each step is one transaction of bounded work: whoever is killed
in the middle of one leaves what was before it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from services.events.settings import Settings
from services.plumbing.postgres import database
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE: Final = "girih_events_compactor"
APPLICATION_NAME: Final = "girih-events-compactor"

_VACUUM_TIMEOUT_S: Final = 6 * 60 * 60.0
# A vacuum takes as long as the file is large, and gives way to appends and reads meanwhile.
_SESSION: Final = "SET statement_timeout = 0; SET vacuum_cost_delay = '2ms'"


class File(NamedTuple):
    """The file of records."""

    page_count: int
    is_vacuum_due: bool
    """So much in it is of no use that it is worth finding out where."""


class RecordFile:
    """What the compactor does on its connection."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection

    async def state(self) -> File:
        """How the file is now."""
        (row,) = await self._connection.fetch(_sql("select_file"))
        return File(row["page_count"], row["is_vacuum_due"])

    async def move(self, first: int, behind: int) -> int | None:
        """Move the records in the pages from `first` to before `behind` to free room before them.

        How many there were; None, and nothing is moved, where there is not room enough, and while
        another process moves or has one of them. One transaction.
        """
        moved: int | None = await self._connection.fetchval(_sql("move_records"), first, behind)
        return moved

    async def vacuum(self) -> None:
        """Have free room found, and empty pages at the end of the file given back.

        Before PostgreSQL 17 it does nothing: only the owner may, and autovacuum does.
        """
        await self._connection.execute("VACUUM events.records", timeout=_VACUUM_TIMEOUT_S)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[RecordFile]:
    """The compactor's connection. Raises `DatabaseUnavailable`, also when the login may not work as
    the compactor.
    """
    with refusals_translated():
        async with database.connect(settings, APPLICATION_NAME, role=ROLE) as connection:
            await connection.execute(_SESSION)
            yield RecordFile(connection)


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.compacting", name)
