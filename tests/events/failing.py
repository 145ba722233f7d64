"""A real log whose connection breaks, or whose head moves, at moments that tests choose."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from girih.ids import EventId, Position, Revision, StreamName
from services.events.domain import LogState, StoredEvent
from services.events.matching.queries import Filter
from services.events.matching.recent import NewLabels
from services.events.store import Log, LogView, Look, RecordBatch, WriteResult
from services.plumbing.errors import DatabaseUnavailable

Moment = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Let it be."""


async def connection_lost() -> None:
    raise DatabaseUnavailable("the connection was lost")


class FailingLog:
    """Passes everything to `log`; what happens before and after writes is set by the test."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.before_state: list[Moment] = []
        self.after_state: list[Moment] = []
        self.before_write: list[Moment] = []
        self.after_write: list[Moment] = []
        self.calls: list[str] = []

    async def state(self, streams: Sequence[StreamName]) -> LogState:
        self.calls.append("state")
        await _next(self.before_state)
        state = await self._log.state(streams)
        await _next(self.after_state)
        return state

    async def find(self, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        self.calls.append("find")
        return await self._log.find(event_ids)

    async def recent(self, behind: Position, upto: Position) -> Sequence[NewLabels]:
        self.calls.append("recent")
        return await self._log.recent(behind, upto)

    async def look(self, wanted: Filter, behind: Position) -> Look:
        self.calls.append("look")
        return await self._log.look(wanted, behind)

    async def hides(self, positions: Sequence[Position]) -> bool:
        self.calls.append("hides")
        return await self._log.hides(positions)

    async def shared_position(self, incarnation: str) -> Position | None:
        self.calls.append("shared")
        return await self._log.shared_position(incarnation)

    async def position_of(self, stream: StreamName, revision: Revision) -> Position | None:
        self.calls.append("position")
        return await self._log.position_of(stream, revision)

    async def encoded(self, batch: RecordBatch) -> RecordBatch:
        return await self._log.encoded(batch)

    async def write(self, head: Position, batch: RecordBatch) -> WriteResult:
        self.calls.append("write")
        await _next(self.before_write)
        result = await self._log.write(head, batch)
        await _next(self.after_write)
        return result

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[LogView]:
        self.calls.append("lock")
        async with self._log.locked() as view:
            yield view


async def _next(moments: list[Moment]) -> None:
    if moments:
        await moments.pop(0)()
