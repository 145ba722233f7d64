"""The logs in PostgreSQL. The one place that knows how records lie in tables."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Protocol, cast

import asyncpg

from girih.ids import NO_POSITION, EventId, Position, Revision, StreamName, TenantId
from services.events.domain import (
    NO_STREAM,
    RECORD_TAG,
    LogEnd,
    LogState,
    StoredEvent,
    StreamHead,
)
from services.events.matching import queries
from services.events.matching.queries import Filter, Match
from services.events.matching.recent import NewLabels
from services.events.postgres import keeping
from services.events.postgres.incarnations import Incarnations
from services.events.postgres.labels import Labels, queries_of
from services.events.postgres.new_records import NewRecords
from services.events.postgres.placed import wherever_it_is
from services.events.rules.stream_rules import RedactionTarget, StreamEnding, StreamRules
from services.events.store import (
    NO_LAPSING,
    Cause,
    FilteredPage,
    FilteredRequest,
    FollowedLog,
    LogPage,
    LogPlace,
    LogTail,
    LogView,
    Look,
    NamedStream,
    PageRequest,
    RecordBatch,
    StreamEnds,
    StreamsRequest,
    TailPage,
    TalliesRequest,
    TallyPage,
    TracePage,
    TraceRequest,
    TraceRow,
    WriteResult,
)
from services.plumbing.errors import ResourceExhausted, Unavailable
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load

_VIOLATED = {
    "records_event_id": WriteResult.ID_STORED,
    "streams_name": WriteResult.STREAM_STORED,
}
"""What it means that a unique index refuses a batch."""


_PLACE_S = 2.0
"""So long one place may hold up what is asked of several."""

_GONE_COUNT_MAX = 256
"""So many events that are gone are passed over at once, where something is looked for."""

_NO_LABELS = queries.Labels(StreamName(""), "", (), "")


class Connections(Protocol):
    """Who lends connections, and names what goes wrong with them."""

    def connection(self, tenant: TenantId) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block, to where the log of `tenant` is."""

    def guess(self, tenant: TenantId) -> str:
        """The place that it leads to, as far as is known without asking."""

    @property
    def opened_count(self) -> int:
        """Grows with each connection that is opened."""


class PostgresEventStore:
    """The logs of all tenants, each in one database. An `EventStore`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._incarnations = Incarnations(connections)
        self.labels = Labels(connections)
        self._kept_logs = keeping.KeptLogs()

    def log(self, tenant: TenantId) -> "PostgresLog":
        return PostgresLog(self._connections, self._incarnations, self._kept_logs, tenant)

    @wherever_it_is
    async def end(self, tenant: TenantId) -> LogEnd:
        async with self._connections.connection(tenant) as connection:
            return await self._incarnations.confirm(connection, tenant)

    @wherever_it_is
    async def position_at(self, tenant: TenantId, time: datetime) -> LogPlace:
        async with self._connections.connection(tenant) as connection:
            incarnation = await self._incarnations.current(connection, tenant)
            position = await connection.fetchval(_sql("select_position_at"), tenant, time)
        return LogPlace(incarnation, Position(position))

    async def shared_position(self, tenant: TenantId, incarnation: str) -> Position | None:
        return await self.log(tenant).shared_position(incarnation)

    async def moved(self, logs: Sequence[FollowedLog]) -> Sequence[TenantId]:
        at_places: dict[str, list[FollowedLog]] = {}
        for log in logs:
            at_places.setdefault(self._connections.guess(log.tenant), []).append(log)
        if len(at_places) == 1:
            return await self._moved_of_one_place(logs)
        by_place = await asyncio.gather(*map(self._moved_or_away, at_places.values()))
        return [tenant for moved in by_place for tenant in moved]

    async def _moved_or_away(self, logs: Sequence[FollowedLog]) -> Sequence[TenantId]:
        """All of them when their place does not answer: whoever follows one meets that alone."""
        try:
            async with asyncio.timeout(_PLACE_S):
                return await self._moved_of_one_place(logs)
        except (Unavailable, ResourceExhausted, TimeoutError):
            return [log.tenant for log in logs]

    async def _moved_of_one_place(self, logs: Sequence[FollowedLog]) -> Sequence[TenantId]:
        async with self._connections.connection(logs[0].tenant) as connection:
            rows = await connection.fetch(_sql("select_moved_logs"), *zip(*logs, strict=True))
        moved = [row["tenant"] for row in rows]
        for tenant in moved:
            # Perhaps to another place, which a pooler before the database hides.
            self._incarnations.doubt(tenant)
        return moved

    @wherever_it_is
    async def revision_at(
        self, tenant: TenantId, stream: StreamName, position: Position
    ) -> Revision:
        async with self._connections.connection(tenant) as connection:
            revision = await connection.fetchval(
                _sql("select_revision_at"), tenant, stream, position
            )
            return cast("Revision", revision)

    @wherever_it_is
    async def stream_ends(self, tenant: TenantId, stream: StreamName) -> StreamEnds | None:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(_sql("select_stream_ends"), tenant, stream)
        if not rows:
            return None
        first, last = rows
        return StreamEnds(
            first_position=first["position"],
            created_at=first["recorded_at"],
            last_position=last["position"],
            last_revision=last["revision"],
            updated_at=last["recorded_at"],
            first_revision=keeping.first_revision(last, last["revision"]),
            ending=keeping.ending(last, last["revision"]),
            metadata=last["metadata"] or "",
            metadata_version=last["metadata_version"] or 0,
            retention=keeping.retention(last),
        )

    @wherever_it_is
    async def streams(self, tenant: TenantId, request: StreamsRequest) -> Sequence[NamedStream]:
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(
                _sql("select_streams"),
                tenant,
                request.prefix,
                request.behind,
                request.count_max,
                request.end,
            )
        return [
            NamedStream(
                row["name"],
                StreamEnds(
                    first_position=row["first_position"],
                    created_at=row["created_at"],
                    last_position=row["last_position"],
                    last_revision=row["last_revision"],
                    updated_at=row["updated_at"],
                    first_revision=keeping.first_revision(row, row["last_revision"]),
                    ending=keeping.ending(row, row["last_revision"]),
                ),
            )
            for row in rows
        ]

    @wherever_it_is
    async def trace(self, tenant: TenantId, request: TraceRequest) -> TracePage:
        async with self._connections.connection(tenant) as connection:
            incarnation = await self._incarnations.current(connection, tenant)
            rows = await connection.fetch(
                _sql_of_filters("select_trace"),
                tenant,
                request.correlation_id,
                request.after + 1,
                request.count_max,
                request.header_bytes_max,
            )
            positions = [row["position"] for row in rows if row["header"] is not None]
            fates = await self._kept_logs.fates(connection, tenant, positions)
        if not rows:
            return TracePage((), NO_POSITION, incarnation)
        events = [
            TraceRow(position, EventId(str(event_id)), header)
            for _, _, position, event_id, header in rows
            if header is not None
        ]
        there = list(_there(events, fates))
        looked_at, is_end, *_, last_header = rows[-1]
        if events and last_header is None:
            return TracePage(there, events[-1].position, incarnation)
        return TracePage(there, NO_POSITION if is_end else looked_at, incarnation)

    @wherever_it_is
    async def causes(
        self, tenant: TenantId, event_ids: Sequence[EventId]
    ) -> Mapping[EventId, Cause]:
        if not event_ids:
            return {}
        async with self._connections.connection(tenant) as connection:
            rows = await connection.fetch(_sql("select_causes"), tenant, event_ids)
        return {EventId(str(event_id)): Cause(*cause) for event_id, *cause in rows}

    @wherever_it_is
    async def tallies(self, tenant: TenantId, request: TalliesRequest) -> TallyPage:
        async with self._connections.connection(tenant) as connection:
            return await keeping.tallies(connection, tenant, request)

    @wherever_it_is
    async def stream_rules(self, tenant: TenantId, stream: StreamName) -> StreamRules | None:
        async with self._connections.connection(tenant) as connection:
            return await keeping.stream_rules(connection, tenant, stream)

    @wherever_it_is
    async def event_at(self, tenant: TenantId, position: Position) -> RedactionTarget | None:
        async with self._connections.connection(tenant) as connection:
            return await keeping.redaction_target(connection, tenant, position)

    @wherever_it_is
    async def page(self, tenant: TenantId, request: PageRequest) -> LogPage:
        async with self._connections.connection(tenant) as connection:
            incarnation = await self._incarnations.current(connection, tenant)
            if not self._kept_logs.knows(tenant):
                page = await _page(connection, tenant, request, incarnation)
                if page.record_count or not await self._kept_logs.has(connection, tenant):
                    return page
            return await keeping.page(connection, tenant, request, incarnation)

    @wherever_it_is
    async def filtered(self, tenant: TenantId, request: FilteredRequest) -> FilteredPage:
        async with self._connections.connection(tenant) as connection:
            incarnation = await self._incarnations.current(connection, tenant)
            rows = await self.labels.find(connection, tenant, request)
        return FilteredPage(incarnation, rows)

    @wherever_it_is
    async def tail(
        self, tenant: TenantId, position: Position, row_count_max: int, record_bytes_max: int
    ) -> LogTail:
        async with self._connections.connection(tenant) as connection:
            incarnation = await self._incarnations.current(connection, tenant)
            rows, is_kept = await self._kept_logs.fetch(
                connection,
                tenant,
                _sql("select_log_tail"),
                position,
                row_count_max,
                record_bytes_max,
            )
            page, lapsing = cast("TailPage", rows), NO_LAPSING
            if is_kept and page:
                fates = await keeping.fates(connection, tenant, [row[1] for row in page])
                lapsing = keeping.lapsing(page, fates)
                page = [(row[0], fates.shown(row[1], shows_gone=False), *row[2:]) for row in page]
        if page:
            self._incarnations.saw(tenant, incarnation, page[-1][0])
        return LogTail(incarnation, page, lapsing)


class PostgresLog:
    """One log, each call on a connection of its own. A `Log`."""

    def __init__(
        self,
        connections: Connections,
        incarnations: Incarnations,
        kept_logs: keeping.KeptLogs,
        tenant: TenantId,
    ) -> None:
        self._connections = connections
        self._incarnations = incarnations
        self._kept_logs = kept_logs
        self._tenant = tenant

    @wherever_it_is
    async def state(self, streams: Sequence[StreamName]) -> LogState:
        async with self._connections.connection(self._tenant) as connection:
            return await self._state(connection, streams)

    @wherever_it_is
    async def find(self, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        async with self._connections.connection(self._tenant) as connection:
            return await _View(connection, self._kept_logs, self._tenant).find(event_ids)

    @wherever_it_is
    async def recent(self, behind: Position, upto: Position) -> Sequence[NewLabels]:
        async with self._connections.connection(self._tenant) as connection:
            return await _View(connection, self._kept_logs, self._tenant).recent(behind, upto)

    @wherever_it_is
    async def look(self, wanted: Filter, behind: Position) -> Look:
        async with self._connections.connection(self._tenant) as connection:
            incarnation = await self._incarnations.current(connection, self._tenant)
            return await _View(connection, self._kept_logs, self._tenant, incarnation).look(
                wanted, behind
            )

    @wherever_it_is
    async def hides(self, positions: Sequence[Position]) -> bool:
        async with self._connections.connection(self._tenant) as connection:
            return await _View(connection, self._kept_logs, self._tenant).hides(positions)

    @wherever_it_is
    async def shared_position(self, incarnation: str) -> Position | None:
        async with self._connections.connection(self._tenant) as connection:
            view = _View(connection, self._kept_logs, self._tenant)
            return await view.shared_position(incarnation)

    @wherever_it_is
    async def position_of(self, stream: StreamName, revision: Revision) -> Position | None:
        async with self._connections.connection(self._tenant) as connection:
            view = _View(connection, self._kept_logs, self._tenant)
            return await view.position_of(stream, revision)

    async def encoded(self, batch: RecordBatch) -> RecordBatch:
        return replace(batch, encoded=await _encoded(batch))

    @wherever_it_is
    async def write(self, head: Position, batch: RecordBatch) -> WriteResult:
        async with self._connections.connection(self._tenant) as connection:
            incarnation = await self._incarnations.current(connection, self._tenant)
            if batch.incarnation not in ("", incarnation):
                # What it was decided on is the state of a log that is no more.
                return WriteResult.HEAD_MOVED
            result = await _View(connection, self._kept_logs, self._tenant).write(head, batch)
        if result is WriteResult.WRITTEN:
            self._incarnations.saw(self._tenant, incarnation, Position(head + len(batch.placed)))
        return result

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[LogView]:
        async with self._connections.connection(self._tenant) as connection:
            incarnation = await self._incarnations.current(connection, self._tenant)
            async with connection.transaction():
                await connection.execute(_sql("lock_log"), self._tenant)
                yield _View(connection, self._kept_logs, self._tenant, incarnation)

    async def _state(self, connection: Connection, streams: Sequence[StreamName]) -> LogState:
        incarnation = await self._incarnations.current(connection, self._tenant)
        state = await _View(connection, self._kept_logs, self._tenant, incarnation).state(streams)
        if not incarnation:
            # It came into being just now, here or in another process.
            incarnation = await self._incarnations.current(connection, self._tenant)
        return replace(state, incarnation=incarnation)


class _View:
    """One log on one connection. A `LogView`."""

    def __init__(
        self,
        connection: Connection,
        kept_logs: keeping.KeptLogs,
        tenant: TenantId,
        incarnation: str = "",
    ) -> None:
        self._connection = connection
        self._kept_logs = kept_logs
        self._tenant = tenant
        self._incarnation = incarnation

    async def state(self, streams: Sequence[StreamName]) -> LogState:
        rows = await self._connection.fetch(_sql("select_log_state"), self._tenant, streams)
        if not rows:
            await self._connection.execute(_sql("insert_log"), self._tenant)
            return LogState(NO_POSITION, dict.fromkeys(streams, NO_STREAM))
        heads = {
            name: NO_STREAM if number is None else StreamHead(number, revision)
            for _, _, name, number, revision, _ in rows
            if name is not None
        }
        endings = {row["name"]: StreamEnding(row["ending"]) for row in rows if row["ending"]}
        head, recorded_at = rows[0]["head"], rows[0]["recorded_at"]
        return LogState(head or NO_POSITION, heads, self._incarnation, recorded_at, endings)

    async def find(self, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        rows = await self._connection.fetch(_sql("select_events_by_id"), self._tenant, event_ids)
        return {
            EventId(str(event_id)): StoredEvent(position, revision, recorded_at, digest)
            for event_id, position, revision, recorded_at, digest in rows
        }

    async def recent(self, behind: Position, upto: Position) -> Sequence[NewLabels]:
        rows = await self._connection.fetch(_sql("select_recent"), self._tenant, behind, upto)
        positions = [Position(position) for position in range(behind + 1, behind + 1 + len(rows))]
        fates = await self._kept_logs.fates(self._connection, self._tenant, positions)
        return [
            NewLabels(
                EventId(str(event_id)),
                # What is gone is in nobody's way, and matches nothing.
                _NO_LABELS
                if fates.hides(position)
                else queries.Labels(stream, event_type, tags or (), correlation_id),
            )
            for position, (event_id, stream, event_type, tags, correlation_id) in zip(
                positions, rows, strict=True
            )
        ]

    async def look(self, wanted: Filter, behind: Position) -> Look:
        looked = await self._look(wanted, behind, 1)
        if looked.match is None and not looked.is_end and looked.upto > behind:
            # What is gone is in nobody's way: look on behind it, for several at once now.
            return await self._look(wanted, looked.upto, _GONE_COUNT_MAX)
        return looked

    async def _look(self, wanted: Filter, behind: Position, count_max: int) -> Look:
        """Among so many events at most that are meant."""
        rows = await self._connection.fetch(
            _sql_of_filters("select_first_matches"),
            self._tenant,
            queries_of(wanted),
            behind + 1,
            count_max,
        )
        if not rows:
            return Look(behind, None, self._incarnation, is_end=True)
        matches = [Match(row["position"], row["event_id"]) for row in rows if row["position"]]
        fates = await self._kept_logs.fates(
            self._connection, self._tenant, [match.position for match in matches]
        )
        there = next((match for match in matches if not fates.hides(match.position)), None)
        if there is not None:
            match = there._replace(event_id=EventId(str(there.event_id)))
            return Look(match.position, match, self._incarnation, is_end=False)
        if len(matches) == count_max:
            return Look(matches[-1].position, None, self._incarnation, is_end=False)
        return Look(rows[0]["looked_at"], None, self._incarnation, rows[0]["is_end"])

    async def hides(self, positions: Sequence[Position]) -> bool:
        fates = await self._kept_logs.fates(self._connection, self._tenant, positions)
        return any(map(fates.hides, positions))

    async def shared_position(self, incarnation: str) -> Position | None:
        position = await self._connection.fetchval(
            _sql("select_shared_position"), self._tenant, incarnation
        )
        return cast("Position | None", position)

    async def position_of(self, stream: StreamName, revision: Revision) -> Position | None:
        position = await self._connection.fetchval(
            _sql("select_position"), self._tenant, stream, revision
        )
        return cast("Position | None", position)

    async def write(self, head: Position, batch: RecordBatch) -> WriteResult:
        try:
            is_written = await self._append(head, batch)
        except asyncpg.UniqueViolationError as error:
            # The other indexes are only violated when the head lies, which is a bug.
            result = _VIOLATED.get(error.constraint_name or "")
            if result is None:
                raise
            return result
        return WriteResult.WRITTEN if is_written else WriteResult.HEAD_MOVED

    async def _append(self, head: Position, batch: RecordBatch) -> bool:
        if not batch.changes:
            return await self._insert(head, batch)
        # What events change is there with them or not at all.
        async with self._connection.transaction():
            is_written = await self._insert(head, batch)
            for change in batch.changes if is_written else ():
                await keeping.put_down(self._connection, self._tenant, batch.recorded_at, change)
        return is_written

    async def _insert(self, head: Position, batch: RecordBatch) -> bool:
        begun = [one for one in batch.placed if one.revision == 0]
        encoded = batch.encoded
        new_records = encoded if isinstance(encoded, NewRecords) else await _encoded(batch)
        is_written = await self._connection.fetchval(
            _sql("append_records"),
            self._tenant,
            head,
            batch.recorded_at,
            [one.stream_number for one in begun],
            [one.event.stream for one in begun],
            new_records,
        )
        return bool(is_written)


async def _encoded(batch: RecordBatch) -> NewRecords:
    new_records = NewRecords()
    await new_records.add(batch.placed, batch.headers)
    return new_records


def _there(page: Sequence[TraceRow], fates: keeping.Fates) -> Iterator[TraceRow]:
    """The rows that are not passed over."""
    for row in page:
        header = fates.shown(row.header, shows_gone=False)
        if header:
            yield row._replace(header=header)


async def _page(
    connection: Connection, tenant: TenantId, request: PageRequest, incarnation: str
) -> LogPage:
    """A page of a log that has no rules; nothing of one that has."""
    arguments: list[object] = [
        request.start,
        request.row_count_max,
        request.record_bytes_max,
        request.page_bytes_max,
        RECORD_TAG,
    ]
    is_of_stream = request.stream is not None
    if is_of_stream:
        arguments.append(request.stream)
    if is_of_stream and not request.is_backwards:
        arguments.append(request.position_min)
    statement = _PAGES[is_of_stream, request.is_backwards]
    row = await connection.fetchrow(_sql(statement), tenant, *arguments)
    count, last, byte_count, records = cast("asyncpg.Record", row)
    if not count:
        return LogPage(incarnation, 0, 0, 0, ())
    fields = None if records is None else (RECORD_TAG, records)
    return LogPage(incarnation, count, last, int(byte_count), fields)


_PAGES = {
    (False, False): "select_log_forwards",
    (False, True): "select_log_backwards",
    (True, False): "select_stream_forwards",
    (True, True): "select_stream_backwards",
}


def _sql(name: str) -> str:
    return load("services.events.postgres.sql", name)


def _sql_of_filters(name: str) -> str:
    return load("services.events.postgres.sql.filters", name)
