"""The newest events of a log, by what queries ask of them. Knows neither database nor wire.

What everybody decides on is recent, so preconditions that no event may match find here what they
need, without asking the database. A log has none of it before its first such precondition, and
for as long only as it has some.

Events lie in blocks, the newest of which grows. A block has, by label, the places where events
with it are, so that looking for events costs what comes near to them. The oldest block is let go
as a whole, when a log has enough of them or all logs together have too many.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from girih.ids import NO_POSITION, EventId, Position
from services.events.matching.queries import Filter, Labels, Match, Query, category_of

BLOCK_EVENTS_MAX = 1_024
BLOCK_CHARS_MAX = 2**18
"""Of all labels of its events together. So a block takes 2 MiB at most, and mostly half of one."""
BLOCKS_OF_LOG_MAX = 4
BLOCKS_MAX = 64
"""Of all logs of a process."""
IDLE_EVENTS_MAX = 50_000
"""So many events without a precondition that looks at them, and a log has no more of this."""


class NewLabels(NamedTuple):
    """An event, as far as queries ask about it."""

    event_id: EventId
    labels: Labels


class RecentBlocks:
    """The blocks of all logs of a process: how many there are, and who has used them last."""

    def __init__(
        self, count_max: int = BLOCKS_MAX, block_events_max: int = BLOCK_EVENTS_MAX
    ) -> None:
        self.block_events_max = block_events_max
        self._count_max = count_max
        self._count = 0
        self._logs: OrderedDict[RecentEvents, None] = OrderedDict()

    def used(self, log: "RecentEvents") -> None:
        self._logs[log] = None
        self._logs.move_to_end(log)

    def added(self) -> None:
        """Some log has a block more: let the logs longest unused have fewer."""
        self._count += 1
        for log in list(self._logs) if self._count > self._count_max else ():
            while self._count > self._count_max and log.drop_oldest():
                pass

    def dropped(self, count: int) -> None:
        self._count -= count

    def forget(self, log: "RecentEvents") -> None:
        self._logs.pop(log, None)


class RecentEvents:
    """The events of a log from behind `since` up to `head`, as long as they `are_kept`."""

    def __init__(self, blocks: RecentBlocks) -> None:
        self._all = blocks
        self._blocks: list[Block] = []
        self._idle_count = 0
        self._settled = NO_POSITION
        """Those up to it are stored; those behind it may be on their way."""
        self.are_kept = False
        self.head: Position | None = None
        """None when nothing is known."""

    @property
    def since(self) -> Position | None:
        return self._blocks[0].since if self._blocks else self.head

    def use(self) -> None:
        """Somebody looks at recent events: keep them from now on."""
        self.are_kept = True
        self._idle_count = 0
        self._all.used(self)

    def begin(self, head: Position) -> None:
        """Of events up to `head`, which are stored, nothing is known."""
        self.clear()
        self.head = self._settled = head

    def clear(self) -> None:
        self._all.dropped(len(self._blocks))
        self._blocks.clear()
        self.head = None

    def close(self) -> None:
        """Keep nothing, until somebody looks again."""
        self.clear()
        self.are_kept = False
        self._all.forget(self)

    def advance(self, head: Position, events: Sequence[NewLabels]) -> None:
        """`events` are on their way to behind `head`, up to which all are stored."""
        if self.head != head:
            self.begin(head)
        self._settled = head
        self._add(events)
        self._idle_count += len(events)
        if self._idle_count > IDLE_EVENTS_MAX:
            self.close()

    def catch_up(self, events: Sequence[NewLabels]) -> None:
        """`events` are stored behind `head`, up to which all are."""
        assert self.head is not None
        self._settled = self.head
        self._add(events)
        self._settled = self.head

    def take_back(self, head: Position) -> None:
        """Nothing behind `head` is there."""
        if self.head is None or self.head <= head:
            return
        while self._blocks and self._blocks[-1].since >= head:
            self._blocks.pop()
            self._all.dropped(1)
        if self._blocks:
            self._blocks[-1].cut(head)
        self.head = head

    def forget_unsettled(self) -> None:
        """What is on its way may be there or not."""
        self.take_back(self._settled)

    def drop_oldest(self) -> bool:
        """False when there is none that may go: what is on its way stands nowhere else."""
        if not self._blocks or self._blocks[0].head > self._settled:
            return False
        del self._blocks[0]
        self._all.dropped(1)
        return True

    def first(self, wanted: Filter, behind: Position) -> Match | None:
        """The first event behind a position that is meant, among those that are known."""
        for block in self._blocks:
            if block.head > behind and (match := block.first(wanted, behind)) is not None:
                return match
        return None

    def _add(self, events: Sequence[NewLabels]) -> None:
        head = self.head
        assert head is not None
        for event in events:
            is_first = not self._blocks or self._blocks[-1].is_full
            if is_first:
                self._blocks.append(Block(head, self._all.block_events_max))
            self._blocks[-1].add(event)
            head = Position(head + 1)
            if is_first:
                self._all.added()
        self.head = head
        while len(self._blocks) > BLOCKS_OF_LOG_MAX and self.drop_oldest():
            pass


class Block:
    """Events next to each other, from behind `since` on, and where those with a label are."""

    __slots__ = ("_chars", "_events", "_events_max", "_indexed_count", "_positions", "since")

    def __init__(self, since: Position, events_max: int = BLOCK_EVENTS_MAX) -> None:
        self.since = since
        self._events_max = events_max
        self._events: list[NewLabels] = []
        self._chars = 0
        self._positions: dict[str, list[Position]] = {}
        self._indexed_count = 0

    @property
    def head(self) -> Position:
        return Position(self.since + len(self._events))

    @property
    def is_full(self) -> bool:
        return len(self._events) >= self._events_max or self._chars >= BLOCK_CHARS_MAX

    def add(self, event: NewLabels) -> None:
        self._events.append(event)
        stream, event_type, tags, correlation_id = event.labels
        self._chars += len(stream) + len(event_type) + len(correlation_id)
        if tags:
            self._chars += sum(map(len, tags))

    def cut(self, head: Position) -> None:
        """Let go of the events behind `head`."""
        del self._events[head - self.since :]
        self._positions.clear()
        self._indexed_count = 0

    def first(self, wanted: Filter, behind: Position) -> Match | None:
        self._index()
        places = [self._first(query, behind) for query in wanted.queries]
        positions = [place for place in places if place is not None]
        if not positions:
            return None
        position = min(positions)
        return Match(position, self._events[position - self.since - 1].event_id)

    def _first(self, query: Query, behind: Position) -> Position | None:
        for place in self._near(query, behind):
            if query.matches(self._events[place - self.since - 1].labels):
                return place
        return None

    def _near(self, query: Query, behind: Position) -> Iterable[Position]:
        """Where it may be that an event is meant, in order: where the rarest label is."""
        labels = list(_labels_of(query))
        if labels:
            lists = [self._positions.get(label, ()) for label in labels]
            return _behind(min(lists, key=len), behind)
        if query.types:
            lists = [self._positions.get("=" + one, ()) for one in query.types]
            return sorted(place for one in lists for place in _behind(one, behind))
        return map(Position, range(max(behind, self.since) + 1, self.head + 1))

    def _index(self) -> None:
        """Only once somebody looks for something."""
        positions = self._positions
        for index in range(self._indexed_count, len(self._events)):
            place = Position(self.since + index + 1)
            stream, event_type, tags, correlation_id = self._events[index].labels
            positions.setdefault("=" + event_type, []).append(place)
            positions.setdefault("/" + category_of(stream), []).append(place)
            positions.setdefault("@" + correlation_id, []).append(place)
            for tag in tags:
                positions.setdefault("#" + tag, []).append(place)
        self._indexed_count = len(self._events)


def _labels_of(query: Query) -> Iterator[str]:
    """The labels that each event has which it means."""
    for tag in query.tags:
        yield "#" + tag
    if len(query.types) == 1:
        yield from ("=" + one for one in query.types)
    if query.correlation_id:
        yield "@" + query.correlation_id
    if query.category:
        yield "/" + query.category
    if "-" in query.stream_prefix:
        yield "/" + category_of(query.stream_prefix)


def _behind(places: Sequence[Position], position: Position) -> Sequence[Position]:
    return places[bisect_right(places, position) :]
