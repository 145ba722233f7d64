"""Finds the events that a filter means, and labels those that were stored before there were labels.

How, is in the functions of 0006_label_blocks.sql. Knows no records.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, cast

from girih.ids import NO_POSITION, Position, TenantId
from services.events.matching.queries import Filter
from services.events.postgres import keeping
from services.events.store import FilteredRequest, FilteredRows, Page
from services.plumbing.errors import ResourceExhausted, Unavailable
from services.plumbing.logging import get_logger
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

_RECORDS_AT_A_TIME = 5_000
"""Some 50 ms of work for the database."""
_RETRY_S = 1.0

_log = get_logger("labels")


class Connections(Protocol):
    """Who lends connections."""

    def connection(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block, to where the log of `tenant` is."""


class Labels:
    """The labels of all logs."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._unlabelled: dict[TenantId, None] = {}
        self._is_wanted = asyncio.Event()

    async def find(
        self, connection: Connection, tenant: TenantId, request: FilteredRequest
    ) -> FilteredRows:
        """A page of what `request` means."""
        rows = await connection.fetch(
            _sql("select_filtered"),
            tenant,
            queries_of(request.filter),
            request.start,
            request.is_backwards,
            request.row_count_max,
            request.record_bytes_max,
        )
        if not rows:
            return FilteredRows((), NO_POSITION, is_end=True)
        looked_at, is_end, unlabelled, first, _, is_kept = rows[0]
        if unlabelled:
            self._want(tenant)
        page: Page = [] if first is None else [(row["position"], row["record"]) for row in rows]
        if is_kept and page:
            fates = await keeping.fates(connection, tenant, [row[1] for row in page])
            page = [(at, fates.shown(one, shows_gone=request.shows_gone)) for at, one in page]
        return FilteredRows(page, looked_at, is_end)

    async def fill(self) -> None:
        """Label what is not labelled of the logs that somebody looked for events in; runs for ever.

        Of a log that nobody does so in nothing needs labels. What is done stays done, so it may
        be ended at any time, and goes on when it is wanted next. Rests for as long as it works.
        """
        while True:
            await self._is_wanted.wait()
            for tenant in list(self._unlabelled):
                started_s = time.monotonic()
                try:
                    through = await self._fill(tenant)
                except (Unavailable, ResourceExhausted):
                    await asyncio.sleep(_RETRY_S)
                    continue
                if not through:
                    del self._unlabelled[tenant]
                    _log.info("labelled", tenant=tenant)
                await asyncio.sleep(time.monotonic() - started_s)
            if not self._unlabelled:
                self._is_wanted.clear()

    def _want(self, tenant: TenantId) -> None:
        self._unlabelled[tenant] = None
        self._is_wanted.set()

    async def _fill(self, tenant: TenantId) -> Position:
        """The position up to which there are no labels then."""
        async with self._connections.connection(tenant) as connection:
            through = await connection.fetchval(_sql("fill_labels"), tenant, _RECORDS_AT_A_TIME)
        return cast("Position", through)


def queries_of(asked: Filter) -> Sequence[tuple[object, ...]]:
    """An `events.query[]`."""
    return [
        (
            sorted(query.types),
            sorted(query.tags),
            query.stream_prefix,
            query.category,
            query.correlation_id,
        )
        for query in asked.queries
    ]


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.filters", name)
