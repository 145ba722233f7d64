"""What is known of a log without asking: where it ends, and where streams lately used end.

It moves on when a batch goes on its way, so that the next can be decided meanwhile, and is taken
back when that batch is not written. Whatever else a decision stands on moves and is taken back
here as well. Knows no database and no queue.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime

from girih.ids import Position, StreamName
from services.events.domain import NO_STREAM, Decision, LogState, StreamHead, labels_of
from services.events.matching.recent import RecentEvents
from services.events.rules.stream_rules import StreamEnding


class RevisionCache:
    """How much is remembered of all logs of a process together.

    A stream costs up to half a KiB, most of it a name of 255 characters: those of the
    default cost 100 MiB at most, whether one log has them or a thousand.
    """

    def __init__(self, stream_count_max: int = 200_000) -> None:
        self._stream_count_max = stream_count_max
        self.hit_count = 0
        """Streams that were asked for and remembered."""
        self.miss_count = 0
        self._stream_count = 0
        self._logs: OrderedDict[RememberedLog, None] = OrderedDict()

    def count(self, log: "RememberedLog", stream_count: int) -> None:
        """So many more streams are remembered of `log`; fewer when negative."""
        self._stream_count += stream_count
        self._logs[log] = None
        self._logs.move_to_end(log)

    def drop(self, log: "RememberedLog", stream_count: int) -> None:
        """Nothing is remembered of `log` any more, after so many streams."""
        self._stream_count -= stream_count
        self._logs.pop(log, None)

    def evict(self, log: "RememberedLog") -> None:
        """Let the logs longest unused be forgotten, then of `log` what is too much by itself."""
        while self._stream_count > self._stream_count_max:
            longest_unused = next(iter(self._logs))
            if longest_unused is log:
                log.forget_oldest(self._stream_count - self._stream_count_max)
            else:
                longest_unused.forget()


class RememberedLog:
    """A log as of the last commit of this process, or of the batch that is on its way."""

    def __init__(self, revision_cache: RevisionCache, recent: RecentEvents) -> None:
        self._revision_cache = revision_cache
        self._recent = recent
        """The newest events, where somebody asks for them."""
        self._streams: OrderedDict[StreamName, StreamHead] = OrderedDict()
        self._endings: dict[StreamName, StreamEnding] = {}
        self._incarnation = ""
        self._recorded_at: datetime | None = None
        self.head: Position | None = None
        self.version = 0
        """Another one whenever it moves, is taken back, or is forgotten."""

    def unknown(self, streams: Iterable[StreamName]) -> list[StreamName]:
        return [stream for stream in streams if stream not in self._streams]

    def count_use(self, stream_count: int, unknown_count: int) -> None:
        """A decision is about so many streams, so many of which are not remembered."""
        self._revision_cache.miss_count += unknown_count
        self._revision_cache.hit_count += stream_count - unknown_count

    def state(self, streams: Iterable[StreamName]) -> LogState:
        """Streams that are not remembered are in it as new ones."""
        assert self.head is not None
        known = {stream: self._streams.get(stream, NO_STREAM) for stream in streams}
        endings = self._endings and {s: e for s, e in self._endings.items() if s in known}
        return LogState(self.head, known, self._incarnation, self._recorded_at, endings)

    def learn(self, read: LogState) -> None:
        """Add what was read, and forget all else when the log has moved on or is another."""
        if self.head not in (None, read.head) or self._incarnation != read.incarnation:
            self.forget()
        if self._incarnation != read.incarnation:
            self._recent.clear()
        self.head, self._incarnation = read.head, read.incarnation
        self._recorded_at = read.recorded_at
        self._take(read.streams, read.endings)

    def advance(self, decision: Decision) -> None:
        """Take `decision`, which is about to be written, for written."""
        self.version += 1
        self.head, self._incarnation = decision.head, decision.state.incarnation
        self._recorded_at = decision.last_recorded_at
        self._take(decision.streams, decision.endings)
        if self._recent.are_kept:
            self._recent.advance(decision.state.head, labels_of(decision.placed))
        if decision.changes:
            # Some of them may be gone by that.
            self._recent.clear()
        self._revision_cache.evict(self)

    def take_back(self, decision: Decision) -> None:
        """Nothing of `decision` was written, with which this was advanced last."""
        self.version += 1
        self._recent.take_back(decision.state.head)
        if self.head != decision.head:
            return
        self.head, self._recorded_at = decision.state.head, decision.state.recorded_at
        self._end(decision.state.streams, decision.state.endings)
        for stream, head in decision.state.streams.items():
            if head == NO_STREAM:
                self._drop(stream)  # nobody may have looked for it
            elif stream in self._streams:
                self._streams[stream] = head

    def forget(self) -> None:
        self._revision_cache.drop(self, len(self._streams))
        self._recent.forget_unsettled()
        self.version += 1
        self.head = None
        self._streams.clear()
        self._endings.clear()

    def forget_oldest(self, stream_count: int) -> None:
        for _ in range(stream_count):
            stream, _ = self._streams.popitem(last=False)
            self._endings.pop(stream, None)
        self._revision_cache.count(self, -stream_count)

    def _end(
        self, streams: Iterable[StreamName], endings: Mapping[StreamName, StreamEnding]
    ) -> None:
        """Of `streams`, those in `endings` have ended, and no others."""
        if self._endings or endings:
            for stream in streams:
                self._endings.pop(stream, None)
            self._endings.update(endings)

    def _drop(self, stream: StreamName) -> None:
        if self._streams.pop(stream, None) is not None:
            self._revision_cache.count(self, -1)

    def _take(
        self,
        streams: Mapping[StreamName, StreamHead],
        endings: Mapping[StreamName, StreamEnding],
    ) -> None:
        self._end(streams, endings)
        known_count = len(self._streams)
        for stream, head in streams.items():
            self._streams[stream] = head
            self._streams.move_to_end(stream)
        self._revision_cache.count(self, len(self._streams) - known_count)
