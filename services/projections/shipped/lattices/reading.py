"""Finds lattices by what they are like. Knows its view, and no transport."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from girih.ids import NO_POSITION, Position, TenantId
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

_PACKAGE: Final = "services.projections.shipped.lattices.sql"
_BEHIND_ALL: Final = 2**63 - 1

Row = Mapping[str, Any]


class TenantConnections(Protocol):
    """Who lends connections on which a tenant's rows alone are seen."""

    def for_tenant(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """In a transaction, for the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatticeFilter:
    """Which lattices are wanted: those that meet every part that says something."""

    shape: Sequence[int] = ()
    axis_count: int = 0
    is_moore: bool | None = None
    is_blocked: bool | None = None
    site_count_min: int = 0
    site_count_max: int = 0
    created_from: datetime | None = None
    created_before: datetime | None = None


class LatticePage(NamedTuple):
    """Lattices, the newest first."""

    rows: Sequence[Row]
    position: Position
    """Up to where in the log it is true at least."""


class LatticeReader:
    """Reads what the projection `lattices` holds, of all tenants."""

    def __init__(self, connections: TenantConnections) -> None:
        self._connections = connections

    async def search(
        self, tenant: TenantId, wanted: LatticeFilter, before: int | None, count_max: int
    ) -> LatticePage:
        """Up to so many lattices that were created before a position."""
        async with self._connections.for_tenant(tenant) as connection:
            # Before the rows: what they hold beyond it does no harm.
            position = await connection.fetchval(load(_PACKAGE, "select_position"), tenant)
            rows = await connection.fetch(
                load(_PACKAGE, "search"),
                tenant,
                list(wanted.shape),
                wanted.axis_count,
                wanted.is_moore,
                wanted.is_blocked,
                wanted.site_count_min,
                wanted.site_count_max,
                wanted.created_from,
                wanted.created_before,
                _BEHIND_ALL if before is None else before,
                count_max,
            )
        return LatticePage(
            [dict(row) for row in rows], NO_POSITION if position is None else Position(position)
        )
