"""What movers do at one place, in the one role that may. A `PlaceStore`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

import asyncpg

from girih.ids import Position, TenantId
from services.events.places.store import Claim, Copied, PlacedLog
from services.events.postgres.placed import ELSEWHERE
from services.events.settings import Settings
from services.plumbing.postgres import database
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE: Final = "girih_events_mover"
APPLICATION_NAME: Final = "girih-events-mover"

RECORD_COUNT_MAX: Final = 1_000
"""Copied in one transaction."""
_DISCARDED_COUNT: Final = 500
"""Deleted in one transaction: each may have some MiB, which lie in thousands of rows."""


class Moving:
    """One place, over one connection."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection

    async def know(self, tenant: TenantId) -> None:
        await self._connection.execute(_sql("insert_log"), tenant)

    async def placed(self, tenant: TenantId) -> PlacedLog | None:
        row = await self._connection.fetchrow(_sql("select_placed"), tenant)
        return None if row is None else PlacedLog(*row)

    async def work(self, count_max: int) -> Sequence[PlacedLog]:
        rows = await self._connection.fetch(_sql("select_work"), count_max)
        return [PlacedLog(*row) for row in rows]

    async def count(self) -> int:
        return int(await self._connection.fetchval(_sql("count_logs")))

    async def ask(self, tenant: TenantId, place: str | None) -> bool:
        try:
            return bool(await self._connection.fetchval(_sql("ask_move"), tenant, place))
        except asyncpg.PostgresError as error:
            if error.sqlstate != ELSEWHERE:
                raise
            return False

    async def claim(self, tenant: TenantId, lease_s: float) -> Claim | None:
        row = await self._connection.fetchrow(_sql("claim_move"), tenant, lease_s)
        return None if row is None else Claim(*row)

    async def renew(self, tenant: TenantId, move: int, lease_s: float) -> bool:
        return bool(await self._connection.fetchval(_sql("renew_move"), tenant, move, lease_s))

    async def begin(self, tenant: TenantId, from_place: str, move: int) -> bool:
        is_begun = await self._connection.fetchval(
            _sql("begin_receiving"), tenant, from_place, move
        )
        return bool(is_begun)

    @asynccontextmanager
    async def held(self, tenant: TenantId, move: int) -> AsyncIterator[bool]:
        async with self._connection.transaction():
            yield bool(await self._connection.fetchval(_sql("hold"), tenant, move))

    async def leave(self, tenant: TenantId, move: int, place: str) -> bool:
        return bool(await self._connection.fetchval(_sql("leave"), tenant, move, place))

    async def arrive(self, tenant: TenantId, move: int) -> bool:
        return bool(await self._connection.fetchval(_sql("arrive"), tenant, move))

    async def point(self, tenant: TenantId, place: str, move: int) -> None:
        await self._connection.execute(_sql("point"), tenant, place, move)

    async def discard(self, tenant: TenantId, move: int) -> bool:
        is_gone = await self._connection.fetchval(_sql("discard"), tenant, move, _DISCARDED_COUNT)
        return bool(is_gone)

    async def head(self, tenant: TenantId) -> Position:
        return Position(await self._connection.fetchval(_sql_of_copies("select_head"), tenant))

    async def records(self, tenant: TenantId, behind: Position, bytes_max: int) -> Copied | None:
        rows = await self._connection.fetch(
            _sql_of_copies("select_records"), tenant, behind, RECORD_COUNT_MAX, bytes_max
        )
        if not rows:
            return None
        upto = Position(rows[-1]["position"])
        streams = await self._connection.fetch(
            _sql_of_copies("select_streams"), tenant, behind, upto
        )
        return Copied(upto, [row["stream"] for row in streams], [row["record"] for row in rows])

    async def receive(self, tenant: TenantId, move: int, behind: Position, copied: Copied) -> bool:
        is_received = await self._connection.fetchval(
            _sql_of_copies("receive_records"), tenant, move, behind, copied.streams, copied.records
        )
        return bool(is_received)

    async def hashes(self, tenant: TenantId, table: str) -> frozenset[str]:
        rows = await self._connection.fetch(_sql_of_copies("select_hashes"), tenant, table)
        return frozenset(row["hash"] for row in rows)

    async def rows(self, tenant: TenantId, table: str, hashes: Sequence[str]) -> Sequence[str]:
        rows = await self._connection.fetch(_sql_of_copies("select_rows"), tenant, table, hashes)
        return [row["one"] for row in rows]

    async def exchange(
        self, tenant: TenantId, move: int, table: str, lost: Sequence[str], gained: Sequence[str]
    ) -> bool:
        is_done = await self._connection.fetchval(
            _sql_of_copies("receive_rows"), tenant, move, table, lost, gained
        )
        return bool(is_done)

    async def digest(self, tenant: TenantId, behind: Position, upto: Position) -> tuple[int, bytes]:
        row = await self._connection.fetchrow(_sql_of_copies("select_digest"), tenant, behind, upto)
        count, digest = cast("asyncpg.Record", row)
        return count, digest


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Moving]:
    """The mover's connection to a place. Raises `DatabaseUnavailable`, also when the login may not
    work as the mover.
    """
    with refusals_translated():
        async with database.connect(settings, APPLICATION_NAME, role=ROLE) as connection:
            yield Moving(connection)


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.moving", name)


def _sql_of_copies(name: str) -> str:
    return load("services.events.postgres.sql.moving.copying", name)
