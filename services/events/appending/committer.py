"""Settles batches of appends to one log, one batch at a time. Knows no queue and no callers.

A batch is decided in memory and written with one statement, so that one commit pays for
all of it. Replicas need no leader: a write names the head of the log that it was decided
on and does nothing when another process has moved it; then the batch is decided again.

That is fast and safe but not fair: whoever won has the newest state and can write again
at once, while the others must first read what they missed, and a busy replica could win
for ever. So a batch that has lost `LOST_RACES_MAX` times takes the log's lock, and reads,
decides and writes while it holds it. Locks are granted in the order of asking: it gets
its turn, and everybody who writes meanwhile waits behind it. The database ends the lock
of a process that stops in the middle (`idle_in_transaction_session_timeout`) and the
wait of one that waits too long (`lock_timeout`).

Ids are not looked up before writing: the log's unique index refuses a repeated id, and
then the batch is decided again with the ids looked up. A connection that is lost while
a batch is written leaves open whether it was; looking the ids up tells.

Streams that are not remembered are not read either while all such streams turn out to be
new: the events are placed as their first, and the index on the names of streams refuses a
stream that is there already.

A refusal is told only when the state it was decided on is known to have been true during
the call: because the batch was written on it, or because it was read for it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from girih.backoff import Backoff
from girih.ids import EventId, Position, StreamName
from services.events.domain import (
    NO_STREAM,
    Decision,
    LogState,
    Outcome,
    PlacedEvent,
    Proposal,
    StoredEvent,
    StreamHead,
    decide,
)
from services.events.errors import PreconditionFailed
from services.events.store import Log, LogView, RecordBatch, WriteResult
from services.plumbing.errors import DatabaseUnavailable, ResourceExhausted, Unavailable

LOST_RACES_MAX = 3

ALL_NEW_MIN = 8
"""So many times in a row all streams that were not remembered must have been new, for the next
to be taken for new unread. A batch that was wrong about that is sent twice."""

_AWAY = (Unavailable, ResourceExhausted)

Encode = Callable[[PlacedEvent], bytes]
EncoderAt = Callable[[datetime], Encode]
"""Makes the encoder of headers for a moment."""


@dataclass(frozen=True, kw_only=True)
class CommitterLimits:
    """How long a committer tries, and how often."""

    retry_budget_s: float = 5.0
    """How long a batch is tried while the database is away."""
    retry_delay_min_s: float = 0.05
    retry_delay_max_s: float = 1.0


class CommitInstruments(Protocol):
    """Who counts what committers meet."""

    def race_lost(self) -> None:
        """Another process moved the head first."""

    def database_away(self) -> None:
        """The database was away while a batch was settled."""


class RevisionCache:
    """How much the committers of a process remember together.

    A stream costs up to half a KiB, most of it a name of 255 characters: those of the
    default cost 100 MiB at most, whether one log has them or a thousand.
    """

    def __init__(self, stream_count_max: int = 200_000) -> None:
        self._stream_count_max = stream_count_max
        self._stream_count = 0
        self._states: OrderedDict[_CachedState, None] = OrderedDict()

    def count(self, state: "_CachedState", stream_count: int) -> None:
        """`state` remembers so many more streams; fewer when negative."""
        self._stream_count += stream_count
        self._states[state] = None
        self._states.move_to_end(state)

    def drop(self, state: "_CachedState", stream_count: int) -> None:
        """`state` remembers nothing any more, after so many streams."""
        self._stream_count -= stream_count
        self._states.pop(state, None)

    def evict(self, state: "_CachedState") -> None:
        """Let the logs longest unused forget, and then `state` what is too much by itself."""
        while self._stream_count > self._stream_count_max:
            longest_unused = next(iter(self._states))
            if longest_unused is state:
                state.forget_oldest(self._stream_count - self._stream_count_max)
            else:
                longest_unused.forget()


class Committer:
    """Settles batches of one log. It must settle one at a time."""

    def __init__(
        self,
        log: Log,
        encoder_at: EncoderAt,
        instruments: CommitInstruments,
        limits: CommitterLimits,
        revision_cache: RevisionCache,
        committed: Callable[[Position], None] = lambda _head: None,
    ) -> None:
        """`committed` is told where the log ends after each batch that was written."""
        self._log = log
        self._encoder_at = encoder_at
        self._instruments = instruments
        self._limits = limits
        self._committed = committed
        self._remembered = _CachedState(revision_cache)
        self._expects_repeats = False
        self._all_new_count = 0
        """How many times in a row what was read of streams was that they are new."""
        self._unsure: Decision | None = None

    async def settle(
        self, proposals: Sequence[Proposal], is_wanted: Callable[[], bool]
    ) -> Sequence[Outcome]:
        """One outcome per proposal; returns once what is placed is durable.

        Raises `DatabaseUnavailable` when the database stays away for the retry budget, or
        is away once nobody wants the outcome: then it is not known what is stored. A database
        that was never away, and too busy all the time, raises what says so: nothing is.
        """
        self._unsure = None
        delays_s = self._delays_s()
        looks_up, lost_races, was_away = self._expects_repeats, 0, False
        while True:
            try:
                result, outcomes = await self._attempt(proposals, looks_up, lost_races)
            except _AWAY as error:
                was_away = was_away or isinstance(error, Unavailable)
                delay_s = next(delays_s, None)
                if delay_s is None or not is_wanted():
                    if not was_away:
                        raise
                    raise DatabaseUnavailable("the database does not answer") from error
                await asyncio.sleep(delay_s)
                looks_up = True
                continue
            if result is WriteResult.WRITTEN:
                return outcomes
            looks_up = looks_up or result is WriteResult.ID_STORED
            lost_races += result is WriteResult.HEAD_MOVED

    def forget(self) -> None:
        """Give back what it remembers, before it is itself forgotten."""
        self._remembered.forget()

    def _delays_s(self) -> Iterator[float]:
        """How long to wait before each further attempt, until the budget is spent."""
        give_up_s = time.monotonic() + self._limits.retry_budget_s
        backoff = Backoff(self._limits.retry_delay_min_s, self._limits.retry_delay_max_s)
        while time.monotonic() < give_up_s:
            self._instruments.database_away()
            yield backoff.next_s()

    async def _attempt(
        self, proposals: Sequence[Proposal], looks_up: bool, lost_races: int
    ) -> tuple[WriteResult, Sequence[Outcome]]:
        try:
            if lost_races < LOST_RACES_MAX:
                result, decision = await self._try(self._log, proposals, looks_up)
            else:
                self._remembered.forget()
                async with self._log.locked() as log:
                    result, decision = await self._try(log, proposals, looks_up=True)
        except BaseException:
            self._remembered.forget()
            raise
        self._unsure = None
        if result is WriteResult.WRITTEN:
            self._remembered.move(decision)
            if decision.placed:
                self._committed(decision.head)
        elif result is WriteResult.HEAD_MOVED:
            self._remembered.forget()
            self._instruments.race_lost()
        elif result is WriteResult.STREAM_STORED:
            self._all_new_count = 0
        return result, decision.outcomes

    async def _try(
        self, log: LogView, proposals: Sequence[Proposal], looks_up: bool
    ) -> tuple[WriteResult, Decision]:
        state, is_read, taken_for_new = await self._state(log, proposals, looks_up)
        known = await self._find(log, proposals) if looks_up else {}
        if self._unsure is not None and _is_stored(self._unsure, known):
            return WriteResult.WRITTEN, self._unsure
        decision = decide(state, proposals, known, datetime.now(UTC))
        if _refuses(decision) and not looks_up:
            # What a precondition forbids now may be stored already, by an earlier try of
            # the same call. The ids are looked up after the state: an id that is not
            # there then was not there when the state was.
            return await self._try(log, proposals, looks_up=True)
        if any(decision.streams[stream] == NO_STREAM for stream in taken_for_new):
            # No event of it is written, so nothing proves that it is new.
            return await self._try(log, proposals, looks_up=True)
        if decision.placed:
            return await self._write(log, decision), decision
        if is_read or not _refuses(decision):
            return WriteResult.WRITTEN, decision
        self._remembered.forget()
        return await self._try(log, proposals, looks_up)

    async def _state(
        self, log: LogView, proposals: Sequence[Proposal], reads_all: bool
    ) -> "_Basis":
        streams = set[StreamName]().union(*[proposal.streams() for proposal in proposals])
        unknown = self._remembered.unknown(streams)
        if self._remembered.head is not None:
            if not unknown:
                return _Basis(self._remembered.state(streams))
            if not reads_all and self._all_new_count >= ALL_NEW_MIN:
                return _Basis(self._remembered.state(streams), taken_for_new=unknown)
        read = await log.state(unknown)
        self._count_new(read, unknown)
        self._remembered.learn(read)
        if self._remembered.unknown(streams):
            # The others were forgotten: the log had moved on, or another log needed the room.
            self._remembered.learn(await log.state(list(streams)))
        return _Basis(self._remembered.state(streams), is_read=True)

    def _count_new(self, read: LogState, streams: Sequence[StreamName]) -> None:
        if any(read.streams[stream] != NO_STREAM for stream in streams):
            self._all_new_count = 0
        elif streams:
            self._all_new_count += 1

    async def _find(
        self, log: LogView, proposals: Sequence[Proposal]
    ) -> Mapping[EventId, StoredEvent]:
        ids = {event.event_id for proposal in proposals for event in proposal.events}
        known = await log.find(list(ids))
        # Who repeats one call is likely to repeat the next, and a refused write is waste.
        self._expects_repeats = bool(known)
        return known

    async def _write(self, log: LogView, decision: Decision) -> WriteResult:
        encode = self._encoder_at(decision.recorded_at)
        headers = [encode(placed) for placed in decision.placed]
        self._unsure = decision
        batch = RecordBatch(decision.recorded_at, decision.placed, headers)
        return await log.write(decision.state.head, batch)


class _Basis(NamedTuple):
    """What a batch is decided on."""

    state: LogState
    is_read: bool = False
    """Just now, and not as remembered."""
    taken_for_new: Sequence[StreamName] = ()
    """Streams that nobody has looked for."""


def _is_stored(decision: Decision, known: Mapping[EventId, StoredEvent]) -> bool:
    """Whether all that the decision placed is where it was to be.

    A part of it proves nothing: a caller that repeated its append through another process
    may have been given the very place it was to have here.
    """
    return all(
        known.get(placed.event.event_id)
        == StoredEvent(placed.position, placed.revision, decision.recorded_at, placed.event.digest)
        for placed in decision.placed
    )


def _refuses(decision: Decision) -> bool:
    return any(isinstance(outcome, PreconditionFailed) for outcome in decision.outcomes)


class _CachedState:
    """A log's head and where streams lately written end, as of the last commit here."""

    def __init__(self, revision_cache: RevisionCache) -> None:
        self._revision_cache = revision_cache
        self._streams: OrderedDict[StreamName, StreamHead] = OrderedDict()
        self._incarnation = ""
        self.head: Position | None = None

    def forget(self) -> None:
        self._revision_cache.drop(self, len(self._streams))
        self.head = None
        self._streams.clear()

    def forget_oldest(self, stream_count: int) -> None:
        for _ in range(stream_count):
            self._streams.popitem(last=False)
        self._revision_cache.count(self, -stream_count)

    def unknown(self, streams: Iterable[StreamName]) -> list[StreamName]:
        return [stream for stream in streams if stream not in self._streams]

    def state(self, streams: Iterable[StreamName]) -> LogState:
        """Streams that are not remembered are in it as new ones."""
        assert self.head is not None
        known = {stream: self._streams.get(stream, NO_STREAM) for stream in streams}
        return LogState(self.head, known, self._incarnation)

    def learn(self, read: LogState) -> None:
        """Add what was read, and forget all else when the log has moved on or is another."""
        if self.head not in (None, read.head) or self._incarnation != read.incarnation:
            self.forget()
        self.head, self._incarnation = read.head, read.incarnation
        self._take(read.streams)

    def move(self, decision: Decision) -> None:
        """Take over what was committed, and forget the streams longest unused."""
        self.head = decision.head
        self._take(decision.streams)
        self._revision_cache.evict(self)

    def _take(self, streams: Mapping[StreamName, StreamHead]) -> None:
        known_count = len(self._streams)
        for stream, head in streams.items():
            self._streams[stream] = head
            self._streams.move_to_end(stream)
        self._revision_cache.count(self, len(self._streams) - known_count)
