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


class IndicatorNotFound(NotFound):
    """The server has no indicator of this name."""

    reason = "INDICATOR_NOT_FOUND"


class IndicatorHistoryTooLong(InvalidInput):
    """More points are meant than an answer may have."""

    reason = "INDICATOR_HISTORY_TOO_LONG"


class TenantConnections(Protocol):
    """Who lends connections on which a tenant's rows alone are seen."""

    def reading_for(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """In a transaction whose statements see one state, for the block."""


class Built(NamedTuple):
    """What the generation was built of that is read."""

    version: str
    position: Position

    def position_of(self, indicator: Indicator) -> Position:
        """Up to where in the log its numbers are true. They are none, which is true of an empty
        log, while what is read was built of another declaration.
        """
        is_as_declared = indicator.fingerprint in self.version.split("-")
        return self.position if is_as_declared else NO_POSITION


class Totals(NamedTuple):
    """What all events of a tenant come to."""

    built: Built
    values: Mapping[tuple[str, tuple[str, ...]], Decimal]
    """By an indicator's name and its labels."""

    def of(self, indicator: Indicator) -> Mapping[tuple[str, ...], Decimal]:
        """By labels; none of what was built of another declaration."""
        if self.built.position_of(indicator) == NO_POSITION:
            return {}
        return {
            labels: value for (name, labels), value in self.values.items() if name == indicator.name
        }


class History(NamedTuple):
    """What an indicator was, in order of time."""

    rows: Sequence[Row]
    position: Position
    """Up to where in the log it is true."""


class IndicatorReader:
    """Reads what the projection `indicators` holds, of all tenants."""

    def __init__(self, definitions: Definitions, connections: TenantConnections) -> None:
        self.definitions = definitions
        self._connections = connections

    def find(self, name: str) -> Indicator:
        """Raises IndicatorNotFound."""
        if (indicator := self.definitions.by_name(name)) is None:
            raise IndicatorNotFound(f"there is no indicator called {name}", indicator=name)
        return indicator

    async def totals(self, tenant: TenantId) -> Totals:
        """What all events of a tenant come to."""
        async with self._connections.reading_for(tenant) as connection:
            built = await _built(connection, tenant)
            rows = await connection.fetch(load(_PACKAGE, "select_totals"), tenant)
        values = {(row["indicator"], tuple(row["labels"])): row["value"] for row in rows}
        return Totals(built, values)

    async def history(
        self, tenant: TenantId, indicator: Indicator, since: datetime, before: datetime
    ) -> History:
        """The windows that begin between two times. Raises IndicatorHistoryTooLong."""
        async with self._connections.reading_for(tenant) as connection:
            position = (await _built(connection, tenant)).position_of(indicator)
            if position == NO_POSITION:
                return History((), NO_POSITION)
            rows = await connection.fetch(
                load(_PACKAGE, "select_history"),
                tenant,
                indicator.name,
                since,
                before,
                POINT_COUNT_MAX + 1,
            )
        if len(rows) > POINT_COUNT_MAX:
            raise IndicatorHistoryTooLong(
                f"more than {POINT_COUNT_MAX} points are meant",
                point_count_max=POINT_COUNT_MAX,
            )
        return History([dict(row) for row in rows], position)


async def _built(connection: Connection, tenant: TenantId) -> Built:
    row = await connection.fetchrow(load(_PACKAGE, "select_built"), tenant)
    return Built(row["version"], Position(row["position"])) if row else Built("", NO_POSITION)
