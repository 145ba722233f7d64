"""A log as it will be once a batch that is on its way has been written. Writes nothing."""

from collections.abc import Callable, Sequence

from girih.ids import EventId, Position, Revision, StreamName
from services.events.domain import Decision, LogState, StoredEvent
from services.events.matching.queries import Filter
from services.events.matching.recent import NewLabels
from services.events.store import LogReader, Look


class NotAhead(Exception):
    """What is read is not of a log in which the batch has been written, or will be."""


class LogAhead:
    """Reads `log` as it will be with `decision`. A `LogReader`.

    Whatever it answers is so only if `decision` is written, and as long as `is_on_its_way` says
    that it may still be. When it says no, answers are withheld by `NotAhead`.
    """

    def __init__(
        self, log: LogReader, decision: Decision, is_on_its_way: Callable[[], bool]
    ) -> None:
        self._log = log
        self._decision = decision
        self._is_on_its_way = is_on_its_way

    async def state(self, streams: Sequence[StreamName]) -> LogState:
        read = await self._log.state(streams)
        before = self._decision.state
        if not self._is_on_its_way() or read.incarnation != before.incarnation:
            raise NotAhead
        if read.head == self._decision.head:
            return read
        if read.head != before.head:
            raise NotAhead
        moved = {
            name: self._decision.streams.get(name, head) for name, head in read.streams.items()
        }
        decision = self._decision
        endings = {s: e for s, e in read.endings.items() if s not in decision.streams}
        endings |= {s: e for s, e in decision.endings.items() if s in moved}
        return LogState(decision.head, moved, read.incarnation, decision.last_recorded_at, endings)

    async def recent(self, _behind: Position, _upto: Position) -> Sequence[NewLabels]:
        raise NotAhead  # what is on its way is nowhere to be read

    async def look(self, _wanted: Filter, _behind: Position) -> Look:
        raise NotAhead

    async def hides(self, positions: Sequence[Position]) -> bool:
        # As far as it is there already: what is on its way hides what is decided beside it, at
        # the earliest.
        head = self._decision.state.head
        return await self._log.hides([position for position in positions if position <= head])

    async def shared_position(self, incarnation: str) -> Position | None:
        return await self._log.shared_position(incarnation)

    async def position_of(self, _stream: StreamName, _revision: Revision) -> Position | None:
        raise NotAhead

    async def find(self, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
        stored = await self._log.find(event_ids)
        if not self._is_on_its_way():
            raise NotAhead
        asked = set(event_ids)
        placed = self._decision.stored()
        return stored | {event_id: placed[event_id] for event_id in asked & placed.keys()}
