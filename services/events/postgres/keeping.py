"""Which records of a page are gone, and what holds for streams. One place for all that reads.

A log without rules is read by one statement, which answers nothing when the log has rules after
all: so nothing has to be asked first, and no rule is missed. Logs that have rules are remembered.
Of their pages it is asked in a second statement which records are gone, so each read obeys what
held when it began.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from girih.ids import NO_POSITION, EventId, Position, Revision, StreamName, TenantId
from services.events.domain import RECORD_TAG
from services.events.rules.gone import position_of, without_payload
from services.events.rules.stream_rules import (
    Gone,
    GoneReason,
    PlacedChange,
    RedactionTarget,
    Retention,
    StreamEnding,
    StreamRules,
)
from services.events.store import (
    Lapsing,
    LogPage,
    PageRequest,
    TailPage,
    TalliesRequest,
    Tally,
    TallyPage,
)
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load
from services.plumbing.wire import varint

COUNT_AT_A_TIME: Final = 20_000
"""Records, some 100 ms of work for the database."""
COUNT_S: Final = 1.0
LOG_COUNT_MAX: Final = 20_000
"""Logs with rules remembered, those used last."""


class Fates(NamedTuple):
    """What rules say of some records."""

    rows: Mapping[Position, asyncpg.Record]

    def hides(self, position: Position) -> bool:
        """Whether the record there is passed over."""
        row = self.rows.get(position)
        if row is None:
            return False
        return bool(row["is_hidden"]) or (row["reason"] is None and bool(row["is_taken"]))

    def shown(self, record: bytes | None, *, shows_gone: bool) -> bytes | None:
        """The record as it is read: no bytes when it is passed over."""
        if not record:
            return record
        position = position_of(record)
        row = self.rows.get(position)
        if row is None or (row["reason"] is None and not row["is_taken"]):
            return record
        if self.hides(position) and not shows_gone:
            return b""
        if row["is_taken"]:
            # It says so itself; `record` may have been read while the payload was still there.
            left: bytes = row["record_left"]
            return left
        return without_payload(record[: row["header_byte_count"]], gone_of(row))


NO_FATES: Final = Fates({})


class KeptLogs:
    """The logs that have rules, as far as this process knows."""

    def __init__(self) -> None:
        self._kept: OrderedDict[TenantId, None] = OrderedDict()

    async def fetch(
        self, connection: Connection, tenant: TenantId, statement: str, *arguments: object
    ) -> tuple[Sequence[asyncpg.Record], bool]:
        """The rows of a statement that has `$1 tenant` and, behind `arguments`, `is_kept`; and
        whether the log has rules.
        """
        is_kept = tenant in self._kept
        rows = await connection.fetch(statement, tenant, *arguments, is_kept)
        if not rows and not is_kept and await self.has(connection, tenant):
            return await connection.fetch(statement, tenant, *arguments, True), True
        return rows, is_kept

    async def fates(
        self, connection: Connection, tenant: TenantId, positions: Sequence[Position]
    ) -> Fates:
        """What rules say of records that were just read, by a statement that asked for none."""
        if not positions or not (tenant in self._kept or await self.has(connection, tenant)):
            return NO_FATES
        return await fates_at(connection, tenant, positions)

    def knows(self, tenant: TenantId) -> bool:
        """Whether the log is known to have rules."""
        return tenant in self._kept

    async def has(self, connection: Connection, tenant: TenantId) -> bool:
        """Whether the log has rules now."""
        if await connection.fetchval(_sql("select_is_kept"), tenant) is None:
            return False
        self._kept[tenant] = None
        if len(self._kept) > LOG_COUNT_MAX:
            self._kept.popitem(last=False)
        return True


async def page(
    connection: Connection, tenant: TenantId, request: PageRequest, incarnation: str
) -> LogPage:
    """A page of a log that has rules."""
    arguments: list[object] = [
        request.start,
        request.row_count_max,
        request.record_bytes_max,
        request.page_bytes_max,
    ]
    is_of_stream = request.stream is not None
    if is_of_stream:
        arguments.append(request.stream)
        if not request.is_backwards:
            arguments.append(request.position_min)
        arguments.append(request.shows_gone)
    statement = _PAGES[is_of_stream, request.is_backwards]
    rows = await connection.fetch(_sql(statement), tenant, *arguments)
    records = [row["record"] for row in rows]
    if None in records:
        return LogPage(incarnation, len(rows), 0, 0, None)
    verdicts = await fates(connection, tenant, records)
    fields: list[bytes] = []
    count = last = looked_at = byte_count = 0
    for key, record in rows:
        last, looked_at = key, looked_at + 1
        shown = verdicts.shown(record, shows_gone=request.shows_gone)
        if not shown:
            continue
        fields += (RECORD_TAG, varint(len(shown)), shown)
        byte_count += len(shown)
        count += 1
        if count == request.record_count_max:
            break
    return LogPage(incarnation, count, last, byte_count, fields, looked_at - count)


async def fates(connection: Connection, tenant: TenantId, records: Sequence[bytes | None]) -> Fates:
    """What rules say of records that were just read."""
    return await fates_at(connection, tenant, [position_of(one) for one in records if one])


async def fates_at(
    connection: Connection, tenant: TenantId, positions: Sequence[Position]
) -> Fates:
    """The same by their positions."""
    rows = await connection.fetch(_sql("select_gone"), tenant, positions)
    return Fates({row["position"]: row for row in rows})


def gone_of(row: asyncpg.Record) -> Gone:
    """That the record is gone, from a row that gives a reason."""
    return Gone(GoneReason(row["reason"]), row["gone_at"], row["gone_by"], row["gone_position"])


def lapsing(page: TailPage, fates: Fates) -> Lapsing:
    """When records of `page` that are there will be gone."""
    moments = []
    below: dict[StreamName, Revision] = {}
    for position, _, stream, *_ in page:
        row = fates.rows.get(position)
        if row is None:
            continue
        if not row["is_hidden"] and row["lapses_at"] is not None:
            moments.append(row["lapses_at"])
        if row["kept_from"] is not None:
            below[stream] = row["kept_from"]
    return Lapsing(min(moments, default=None), below)


def first_revision(row: asyncpg.Record, last: Revision) -> Revision:
    """Of the first record of a stream that is kept, but for those that are too old."""
    kept_from = row["kept_from"] or 0
    if row["max_count"] is not None:
        kept_from = max(kept_from, last + 1 - row["max_count"])
    return Revision(min(kept_from, last + 1))


def ending(row: asyncpg.Record, last: Revision) -> StreamEnding | None:
    """Whether the stream has ended."""
    if row["is_tombstoned"]:
        return StreamEnding.TOMBSTONED
    return StreamEnding.DELETED if last < (row["deleted_below"] or 0) else None


def retention(row: asyncpg.Record) -> Retention:
    return Retention(row["max_age_s"], row["max_count"], row["truncate_before"])


async def tallies(connection: Connection, tenant: TenantId, request: TalliesRequest) -> TallyPage:
    until_s = time.monotonic() + COUNT_S
    counted = NO_POSITION
    while True:
        row = await connection.fetchrow(_sql("tally"), tenant, COUNT_AT_A_TIME)
        if row is None:
            return TallyPage((), NO_POSITION)
        is_further, counted = row["counted"] > counted, row["counted"]
        if counted >= row["head"] or not is_further or time.monotonic() > until_s:
            break
    rows = await connection.fetch(
        _sql("select_tallies"), tenant, request.kind.value, request.behind, request.count_max
    )
    return TallyPage([Tally(*row) for row in rows], counted)


async def stream_rules(
    connection: Connection, tenant: TenantId, stream: StreamName
) -> StreamRules | None:
    row = await connection.fetchrow(_sql("select_stream_rules"), tenant, stream)
    if row is None:
        return None
    return StreamRules(
        rules_revision=row["rules_revision"],
        last_revision=row["last_revision"],
        ending=ending(row, row["last_revision"]),
        metadata=row["metadata"],
        metadata_version=row["metadata_version"],
        retention=retention(row),
    )


async def redaction_target(
    connection: Connection, tenant: TenantId, position: Position
) -> RedactionTarget | None:
    row = await connection.fetchrow(_sql("select_event"), tenant, position)
    if row is None:
        return None
    gone = await connection.fetchrow(_sql("select_gone"), tenant, [position])
    reason: GoneReason | None = None
    if gone is not None and gone["reason"] is not None:
        reason = GoneReason(gone["reason"])
    elif gone is not None and gone["is_taken"]:
        reason = GoneReason.RETENTION
    return RedactionTarget(EventId(str(row["event_id"])), StreamName(row["name"]), reason)


async def put_down(
    connection: Connection, tenant: TenantId, recorded_at: datetime, placed: PlacedChange
) -> None:
    """What an event of `$streams` changed, in the transaction that appends it."""
    change, position, behind = placed
    retention = change.retention
    await connection.execute(
        _sql("change_stream"),
        tenant,
        change.stream,
        position,
        recorded_at,
        change.actor,
        behind,
        change.metadata,
        retention is not None,
        retention and retention.max_age_s,
        retention and retention.max_count,
        retention and retention.truncate_before,
        change.ending is not None,
        change.ending is StreamEnding.TOMBSTONED,
        change.redacted,
    )


_PAGES = {
    (False, False): "select_log_forwards",
    (False, True): "select_log_backwards",
    (True, False): "select_stream_forwards",
    (True, True): "select_stream_backwards",
}


def _sql(name: str) -> str:
    return load("services.events.postgres.sql.keeping", name)
