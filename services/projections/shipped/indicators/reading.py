"""What indicators came to, as readers see it. Knows its view, and no transport."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from girih.ids import NO_POSITION, Position, TenantId
from services.plumbing.errors import InvalidInput, NotFound
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load
from services.projections.shipped.indicators.definitions import Definitions, Indicator

POINT_COUNT_MAX: Final = 10_000

_PACKAGE: Final = "services.projections.shipped.indicators.sql"

Row = Mapping[str, Any]
Totals = Mapping[tuple[str, tuple[str, ...]], Decimal]
"""By an indicator's name and its labels."""


class IndicatorNotFound(NotFound):
    """The server has no indicator of this name."""

    reason = "INDICATOR_NOT_FOUND"


class IndicatorHistoryTooLong(InvalidInput):
    """More points are meant than an answer may have."""

    reason = "INDICATOR_HISTORY_TOO_LONG"


class TenantConnections(Protocol):
    """Who lends connections on which a tenant's rows alone are seen."""

    def for_tenant(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """In a transaction, for the block."""


class History(NamedTuple):
    """What an indicator was, in order of time."""

    rows: Sequence[Row]
    position: Position
    """Up to where in the log it is true at least."""


class IndicatorReader:
    """Reads what the projection `indicators` holds, of all tenants."""

    def __init__(self, definitions: Definitions, connections: TenantConnections) -> None:
        self.definitions = definitions
        self._connections = connections

    def find(self, name: str) -> Indicator:
        """Raises IndicatorNotFound."""
        if (found := self.definitions.by_name(name)) is None:
            raise IndicatorNotFound(f"there is no indicator called {name}", indicator=name)
        return found

    async def totals(self, tenant: TenantId) -> tuple[Totals, Position]:
        """What all events of a tenant come to, and up to where in the log that is true at least."""
        async with self._connections.for_tenant(tenant) as connection:
            position = await _position(connection, tenant)
            rows = await connection.fetch(load(_PACKAGE, "select_totals"), tenant)
        totals = {(row["indicator"], tuple(row["labels"])): row["value"] for row in rows}
        return totals, position

    async def history(
        self, tenant: TenantId, name: str, since: datetime, before: datetime
    ) -> History:
        """The windows that begin between two times. Raises IndicatorHistoryTooLong."""
        async with self._connections.for_tenant(tenant) as connection:
            position = await _position(connection, tenant)
            rows = await connection.fetch(
                load(_PACKAGE, "select_history"), tenant, name, since, before, POINT_COUNT_MAX + 1
            )
        if len(rows) > POINT_COUNT_MAX:
            raise IndicatorHistoryTooLong(
                f"more than {POINT_COUNT_MAX} points are meant",
                point_count_max=POINT_COUNT_MAX,
            )
        return History([dict(row) for row in rows], position)


async def _position(connection: Connection, tenant: TenantId) -> Position:
    position = await connection.fetchval(load(_PACKAGE, "select_position"), tenant)
    return NO_POSITION if position is None else Position(position)
