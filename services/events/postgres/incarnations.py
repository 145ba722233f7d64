"""Which incarnation each log is in, as this process knows it. Knows no records.

A log can only turn into another one where its connections end: a database is renamed, restored
or restarted, or another server takes over. So what is known of a log holds for as long as no
connection is opened; then the database is asked again, once for each log that is used.
"""

from collections import OrderedDict
from typing import Final, Protocol

from girih.ids import NO_POSITION, Position, TenantId
from services.events.domain import LogEnd
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

LOG_COUNT_MAX: Final = 20_000
"""Logs remembered, those used last."""


class OpenedCount(Protocol):
    """Who opens connections."""

    @property
    def opened_count(self) -> int:
        """How many were opened so far."""


class _Known:
    __slots__ = ("head", "incarnation", "opened_count")

    def __init__(self, end: LogEnd, opened_count: int) -> None:
        self.incarnation, self.head = end
        self.opened_count = opened_count


class Incarnations:
    """The incarnations of the logs that this process uses, each with the head seen of it."""

    def __init__(self, connections: OpenedCount) -> None:
        self._connections = connections
        self._known: OrderedDict[TenantId, _Known] = OrderedDict()

    async def current(self, connection: Connection, tenant: TenantId) -> str:
        """The incarnation of the log as it is behind `connection`; empty when there is none.

        Costs nothing as long as no connection was opened since it was asked last, and else one
        round trip, which begins a new incarnation where the log is another one.
        """
        known = self._known.get(tenant)
        if known is not None and known.opened_count == self._connections.opened_count:
            return known.incarnation
        return (await self.confirm(connection, tenant)).incarnation

    async def confirm(self, connection: Connection, tenant: TenantId) -> LogEnd:
        """The same, and the log's head, asked of the database in any case."""
        known = self._known.get(tenant)
        # Before asking: what is opened meanwhile is another reason to ask.
        opened_count = self._connections.opened_count
        row = await connection.fetchrow(
            load("services.events.postgres.sql", "confirm_log"),
            tenant,
            known.incarnation if known else "",
            known.head if known else 0,
        )
        if row is None:
            self._known.pop(tenant, None)
            return LogEnd("", NO_POSITION)
        end = LogEnd(*row)
        self._known[tenant] = _Known(end, opened_count)
        self._known.move_to_end(tenant)
        if len(self._known) > LOG_COUNT_MAX:
            self._known.popitem(last=False)
        return end

    def doubt(self, tenant: TenantId) -> None:
        """Ask again before the log is used next."""
        known = self._known.get(tenant)
        if known is not None:
            known.opened_count = -1

    def saw(self, tenant: TenantId, incarnation: str, head: Position) -> None:
        """The log was seen to go as far as `head` in that incarnation."""
        known = self._known.get(tenant)
        if known is not None and known.incarnation == incarnation:
            known.head = max(known.head, head)
