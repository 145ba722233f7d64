"""Documents and elements as readers see them, page by page. Knows its views, and no transport."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from girih.ids import NO_POSITION, Position, TenantId
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

PAGE_BYTES_MAX: Final = 2**20
"""What a page holds at most, a single larger row apart."""

Row = Mapping[str, Any]


class TenantConnections(Protocol):
    """Who lends connections on which a tenant's rows alone are seen."""

    def for_tenant(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """In a transaction, for the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFilter:
    """Which documents are wanted: those that meet every part that is not empty."""

    status: str = ""
    uploaded_by: str = ""
    policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementFilter:
    """Which elements are wanted, in the same way."""

    document: str = ""
    ir_type: str = ""
    name: str = ""


class ElementPlace(NamedTuple):
    """Behind which element a page begins."""

    document: str = ""
    id: str = ""


class Page(NamedTuple):
    """Rows, and what is behind them."""

    rows: Sequence[Row]
    is_last: bool
    position: Position
    """Up to where in the log it is true at least."""


class DocumentReader:
    """Reads what the projection `documents` holds, of all tenants."""

    def __init__(self, connections: TenantConnections) -> None:
        self._connections = connections

    async def document(self, tenant: TenantId, document: str) -> tuple[Row | None, Position]:
        """One document, None where it is not there, and up to where in the log that is true."""
        async with self._connections.for_tenant(tenant) as connection:
            position = await _position(connection, tenant)
            row = await connection.fetchrow(_sql("select_document"), tenant, document)
        return (None if row is None else dict(row)), position

    async def documents(
        self, tenant: TenantId, wanted: DocumentFilter, behind: str, row_count_max: int
    ) -> Page:
        """In the order of their ids, behind one of them."""
        arguments = (behind, wanted.status, wanted.uploaded_by, wanted.policy)
        return await self._page("select_documents_page", tenant, arguments, row_count_max)

    async def elements(
        self, tenant: TenantId, wanted: ElementFilter, behind: ElementPlace, row_count_max: int
    ) -> Page:
        """In the order of documents and ids, behind one of them."""
        arguments = (*behind, wanted.document, wanted.ir_type, wanted.name)
        return await self._page("select_elements_page", tenant, arguments, row_count_max)

    async def _page(
        self, statement: str, tenant: TenantId, arguments: Sequence[str], row_count_max: int
    ) -> Page:
        async with self._connections.for_tenant(tenant) as connection:
            # First: what is read later is of this position, or of a later one.
            position = await _position(connection, tenant)
            await connection.execute(_sql("plan_anew"))
            rows = await connection.fetch(
                _sql(statement), tenant, *arguments, row_count_max + 1, PAGE_BYTES_MAX
            )
        page = [dict(row) for row in rows[:row_count_max]]
        is_last = not rows or rows[0]["total_count"] == len(page)
        return Page(page, is_last, position)


async def _position(connection: Connection, tenant: TenantId) -> Position:
    position = await connection.fetchval(_sql("select_position"), tenant)
    return NO_POSITION if position is None else Position(position)


def _sql(name: str) -> str:
    return load("services.projections.shipped.documents.sql.reading", name)
