"""Takes payloads away, in the one role that may. Knows tables; when it is done is told elsewhere.

Each step is one transaction of bounded work: whoever is killed in the middle of one leaves what
was before it, and the next process goes on there.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import asyncpg

from girih.ids import TenantId
from services.events.rules.gone import without_payload
from services.events.rules.stream_rules import Gone, GoneReason
from services.events.settings import Settings
from services.plumbing.postgres import database
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.opening import RawConnection
from services.plumbing.postgres.sql import load

ROLE: Final = "girih_events_keeper"
APPLICATION_NAME: Final = "girih-events-keeper"

RECORD_COUNT_MAX: Final = 500
"""Rewritten in one transaction."""
BYTE_COUNT_MAX: Final = 4 * 2**20
"""Of their payloads together, but for the first."""
_STREAM_COUNT: Final = 1_000
_LOG_COUNT: Final = 1_000

PayloadDigest = Callable[[bytes], bytes]
"""The digest of a payload."""


class KeptLog(NamedTuple):
    """A log that has rules."""

    number: int
    tenant: TenantId


class Taking:
    """What the keeper does on its connection."""

    def __init__(self, connection: RawConnection, payload_digest: PayloadDigest) -> None:
        self._connection = connection
        self._payload_digest = payload_digest

    async def kept_logs(self) -> AsyncIterator[KeptLog]:
        """All logs that have rules."""
        after = 0
        while True:
            rows = await self._connection.fetch(_sql("select_kept_logs"), after, _LOG_COUNT)
            for row in rows:
                after = row["log"]
                yield KeptLog(after, TenantId(row["tenant"]))
            if len(rows) < _LOG_COUNT:
                return

    async def take_redacted(self, tenant: TenantId) -> int:
        """Take the next payloads of redacted events of a log; how many there were. 0 also when
        another process is at it.
        """
        async with self._taken(tenant) as log:
            if log is None:
                return 0
            rows = await self._connection.fetch(
                _sql("select_redactions_due"), log, RECORD_COUNT_MAX, BYTE_COUNT_MAX
            )
            if rows:
                await self._rewrite(log, [row for row in rows if row["payload"] is not None])
                positions = [row["position"] for row in rows]
                await self._connection.execute(_sql("settle_redactions"), log, positions)
            return len(rows)

    async def streams_due(self, tenant: TenantId) -> AsyncIterator[int]:
        """The numbers of the streams of a log whose first payload has to go."""
        after = 0
        while True:
            async with self._taken(tenant) as log:
                rows: Sequence[asyncpg.Record] = ()
                if log is not None:
                    rows = await self._connection.fetch(
                        _sql("select_streams_due"), log, after, _STREAM_COUNT
                    )
            for row in rows:
                after = row["stream"]
                if row["is_due"]:
                    yield after
            if len(rows) < _STREAM_COUNT:
                return

    async def take_of_stream(self, tenant: TenantId, stream: int) -> int:
        """Take the next payloads of a stream; how many records were looked at, 0 at the end."""
        async with self._taken(tenant) as log:
            if log is None:
                return 0
            await self._connection.fetch(_sql("lock_stream_rule"), log, stream)
            rows = await self._connection.fetch(
                _sql("select_records_due"), log, stream, RECORD_COUNT_MAX, BYTE_COUNT_MAX
            )
            due = list(_until_kept(rows))
            if due:
                await self._rewrite(log, [row for row in due if row["payload"] is not None])
                below = due[-1]["revision"] + 1
                await self._connection.execute(_sql("move_taken_below"), log, stream, below)
            return len(due)

    @asynccontextmanager
    async def _taken(self, tenant: TenantId) -> AsyncIterator[int | None]:
        """A transaction that has the log to itself; None when another process has it, and while it
        is copied to another place or is there.
        """
        async with self._connection.transaction():
            log = await self._connection.fetchval(_sql("take_log"), tenant)
            if log is not None and not await self._connection.fetchval(_sql("select_stays"), log):
                log = None
            yield log

    async def _rewrite(self, log: int, rows: Sequence[asyncpg.Record]) -> None:
        await self._connection.execute(
            _sql("take_payloads"),
            log,
            [row["position"] for row in rows],
            [without_payload(row["header"], _gone(row)) for row in rows],
            [self._payload_digest(row["payload"]) for row in rows],
        )


@asynccontextmanager
async def opened(settings: Settings, payload_digest: PayloadDigest) -> AsyncIterator[Taking]:
    """The keeper's connection. Raises `DatabaseUnavailable`, also when the login may not work as
    the keeper.
    """
    with refusals_translated():
        async with database.connect(settings, APPLICATION_NAME, role=ROLE) as connection:
            yield Taking(connection, payload_digest)


def _until_kept(rows: Sequence[asyncpg.Record]) -> Iterator[asyncpg.Record]:
    for row in rows:
        if row["reason"] is None:
            return
        yield row


def _gone(row: asyncpg.Record) -> Gone:
    return Gone(GoneReason(row["reason"]), row["at"], row["actor"], row["by_position"])


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.taking", name)
