"""Settles batches of appends to one log, one batch at a time. Knows no queue and no callers.

A batch is decided in memory and written with one statement, so that one commit pays for
all of it. While it is on its way the next can be prepared: decided on the log as it will be
then, and encoded. When the first is not written as it was decided, the next is decided again.
Nothing of what was prepared is told or written before.

Replicas need no leader: a write names the head of the log that it was decided on and does
nothing when another process has moved it; then the batch is decided again.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from girih.backoff import Backoff
from girih.ids import EventId, Position, StreamName
from services.events.appending.ahead import LogAhead, NotAhead
from services.events.appending.boundaries import Boundaries
from services.events.appending.remembered import RememberedLog, RevisionCache
from services.events.domain import (
    NO_STREAM,
    Decision,
    LogState,
    Outcome,
    PlacedEvent,
    Proposal,
    StoredEvent,
    decide,
)
from services.events.errors import (
    BeyondEnd,
    LogReplaced,
    PreconditionFailed,
    PreconditionTooCostly,
    StreamTombstoned,
)
from services.events.matching.recent import RecentBlocks, RecentEvents
from services.events.store import Log, LogReader, LogView, RecordBatch, WriteResult
from services.plumbing.errors import DatabaseUnavailable, ResourceExhausted, Unavailable

LOST_RACES_MAX = 3

ALL_NEW_MIN = 8
"""So many times in a row all streams that were not remembered must have been new, for the next
to be taken for new unread. A batch that was wrong about that is sent twice."""

_AHEAD_BYTES_MAX = 2**20
"""Larger batches are encoded when a connection is theirs: there are few of those, and many logs."""

_AWAY = (Unavailable, ResourceExhausted)

_REFUSED_ON_A_STATE = (
    PreconditionFailed,
    BeyondEnd,
    LogReplaced,
    PreconditionTooCostly,
    StreamTombstoned,
)

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


class Prepared(NamedTuple):
    """A batch that is decided and encoded."""

    decision: Decision
    batch: RecordBatch
    is_proven: bool
    """It was decided on what was read for it, and not on what was remembered."""
    version: int
    """Of what was remembered. Once that is another, the batch is to be prepared again."""


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
        recent: RecentEvents | None = None,
    ) -> None:
        """`committed` is told where the log ends after each batch that was written."""
        self._log = log
        self._encoder_at = encoder_at
        self._instruments = instruments
        self._limits = limits
        self._committed = committed
        self._recent = recent or RecentEvents(RecentBlocks())
        self._boundaries = Boundaries(log, self._recent)
        self._remembered = RememberedLog(revision_cache, self._recent)
        self._expects_repeats = False
        self._all_new_count = 0
        """How many times in a row what was read of streams was that they are new."""
        self._on_its_way: Decision | None = None
        """What is being written."""
        self._unsure: Decision | None = None
        """What may have been written."""
        self._announce: Callable[[], None] = lambda: None

    async def look_back(self, proposal: Proposal) -> Proposal:
        """`proposal`, after what its preconditions take was looked for in the database, before it
        is settled: so nobody else waits for that. See `Boundaries`.
        """
        return await self._boundaries.look_back(proposal)

    async def settle(
        self,
        proposals: Sequence[Proposal],
        is_wanted: Callable[[], bool],
        prepared: Prepared | None = None,
        on_its_way: Callable[[], None] = lambda: None,
    ) -> Sequence[Outcome]:
        """One outcome per proposal; returns once what is placed is durable.

        `prepared` is what `prepare` made of these proposals. `on_its_way` is called whenever the
        batch is about to be written: from then on the next can be prepared.

        Raises `DatabaseUnavailable` when the database stays away for the retry budget, or
        is away once nobody wants the outcome: then it is not known what is stored. A database
        that was never away, and too busy all the time, raises what says so: nothing is.
        """
        self._unsure, self._announce = None, on_its_way
        delays_s = self._delays_s()
        looks_up, lost_races, was_away = self._expects_repeats, 0, False
        while True:
            try:
                result, outcomes = await self._attempt(proposals, looks_up, lost_races, prepared)
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
            finally:
                prepared = None
            if result is WriteResult.WRITTEN:
                return outcomes
            looks_up = looks_up or result is WriteResult.ID_STORED
            lost_races += result is WriteResult.HEAD_MOVED

    async def prepare(self, proposals: Sequence[Proposal]) -> Prepared | None:
        """Decide and encode `proposals` on the log as the batch that is on its way will leave it.

        None when nothing is on its way any more. What it answers must be settled next, and is
        of no use unless that batch has been written as it was decided.
        """
        decision, version = self._on_its_way, self._remembered.version
        if decision is None:
            return None
        ahead = LogAhead(self._log, decision, lambda: self._remembered.version == version)
        try:
            prepared = await self._prepared(ahead, proposals, self._expects_repeats)
        except (NotAhead, *_AWAY):
            return None
        if not prepared.decision.placed:
            return prepared
        if sum([placed.event.byte_count for placed in prepared.decision.placed]) > _AHEAD_BYTES_MAX:
            return prepared
        # The database would idle while it is encoded once its turn has come.
        return prepared._replace(batch=await self._log.encoded(prepared.batch))

    def forget(self) -> None:
        """Give back what it remembers, before it is itself forgotten."""
        self._remembered.forget()
        self._recent.close()

    def _delays_s(self) -> Iterator[float]:
        """How long to wait before each further attempt, until the budget is spent."""
        give_up_s = time.monotonic() + self._limits.retry_budget_s
        backoff = Backoff(self._limits.retry_delay_min_s, self._limits.retry_delay_max_s)
        while time.monotonic() < give_up_s:
            self._instruments.database_away()
            yield backoff.next_s()

    async def _attempt(
        self,
        proposals: Sequence[Proposal],
        looks_up: bool,
        lost_races: int,
        prepared: Prepared | None,
    ) -> tuple[WriteResult, Sequence[Outcome]]:
        try:
            if lost_races < LOST_RACES_MAX:
                result, decision = await self._try(self._log, proposals, looks_up, prepared)
            else:
                self._remembered.forget()
                async with self._log.locked() as log:
                    result, decision = await self._try(log, proposals, looks_up=True)
        except BaseException:
            self._remembered.forget()
            raise
        self._unsure = None
        if result is WriteResult.WRITTEN:
            if decision.placed:
                self._committed(decision.head)
        elif result is WriteResult.HEAD_MOVED:
            self._remembered.forget()
            self._instruments.race_lost()
        else:
            self._remembered.take_back(decision)
            if result is WriteResult.STREAM_STORED:
                self._all_new_count = 0
        return result, decision.outcomes

    async def _try(
        self,
        log: LogView,
        proposals: Sequence[Proposal],
        looks_up: bool,
        prepared: Prepared | None = None,
    ) -> tuple[WriteResult, Decision]:
        if self._unsure is not None and _is_stored(self._unsure, await self._find(log, proposals)):
            return WriteResult.WRITTEN, self._unsure
        if prepared is None or prepared.version != self._remembered.version:
            prepared = await self._prepared(log, proposals, looks_up)
        decision = prepared.decision
        if decision.placed:
            return await self._write(log, prepared), decision
        is_refused = _refuses(decision)
        if prepared.is_proven and is_refused and await _has_moved(log, proposals, decision.state):
            return WriteResult.HEAD_MOVED, decision
        if prepared.is_proven or not is_refused:
            self._remembered.advance(decision)
            return WriteResult.WRITTEN, decision
        self._remembered.forget()
        return await self._try(log, proposals, looks_up=True)

    async def _prepared(
        self, log: LogReader, proposals: Sequence[Proposal], looks_up: bool
    ) -> Prepared:
        state, is_read, taken_for_new, version = await self._basis(log, proposals, looks_up)
        known = await self._find(log, proposals) if looks_up else {}
        if looks_up:
            proposals = await self._boundaries.let_lapse(log, proposals, state)
        ready = await self._boundaries.ready(log, proposals, state)
        decision = decide(state, ready, known, datetime.now(UTC), self._recent)
        if _refuses(decision) and not looks_up:
            # What a precondition forbids now may be stored already, by an earlier try of
            # the same call. The ids are looked up after the state: an id that is not
            # there then was not there when the state was.
            return await self._prepared(log, proposals, looks_up=True)
        if any(decision.streams[stream] == NO_STREAM for stream in taken_for_new):
            # No event of it is written, so nothing proves that it is new.
            return await self._prepared(log, proposals, looks_up=True)
        return Prepared(decision, self._encoded(decision), is_read, version)

    async def _basis(
        self, log: LogReader, proposals: Sequence[Proposal], reads_all: bool
    ) -> "_Basis":
        remembered = self._remembered
        streams = set[StreamName]().union(*[proposal.streams() for proposal in proposals])
        unknown = remembered.unknown(streams)
        remembered.count_use(len(streams), len(unknown))
        if remembered.head is not None:
            if not unknown:
                return _Basis(remembered.state(streams), version=remembered.version)
            if not reads_all and self._all_new_count >= ALL_NEW_MIN:
                return _Basis(
                    remembered.state(streams), taken_for_new=unknown, version=remembered.version
                )
        read = await log.state(unknown)
        self._count_new(read, unknown)
        remembered.learn(read)
        if remembered.unknown(streams):
            # The others were forgotten: the log had moved on, or another log needed the room.
            remembered.learn(await log.state(list(streams)))
        return _Basis(remembered.state(streams), is_read=True, version=remembered.version)

    def _count_new(self, read: LogState, streams: Sequence[StreamName]) -> None:
        if any(read.streams[stream] != NO_STREAM for stream in streams):
            self._all_new_count = 0
        elif streams:
            self._all_new_count += 1

    async def _find(
        self, log: LogReader, proposals: Sequence[Proposal]
    ) -> Mapping[EventId, StoredEvent]:
        ids = {event.event_id for proposal in proposals for event in proposal.events}
        known = await log.find(list(ids))
        # Who repeats one call is likely to repeat the next, and a refused write is waste.
        self._expects_repeats = bool(known)
        return known

    def _encoded(self, decision: Decision) -> RecordBatch:
        encode = self._encoder_at(decision.recorded_at)
        headers = [encode(placed) for placed in decision.placed]
        incarnation = decision.state.incarnation
        return RecordBatch(
            decision.recorded_at, decision.placed, headers, incarnation, decision.changes
        )

    async def _write(self, log: LogView, prepared: Prepared) -> WriteResult:
        decision = prepared.decision
        self._remembered.advance(decision)
        self._unsure = self._on_its_way = decision
        self._announce()
        try:
            return await log.write(decision.state.head, prepared.batch)
        finally:
            self._on_its_way = None


class _Basis(NamedTuple):
    """What a batch is decided on."""

    state: LogState
    is_read: bool = False
    """Just now, and not as remembered."""
    taken_for_new: Sequence[StreamName] = ()
    """Streams that nobody has looked for."""
    version: int = 0
    """Of what was remembered."""


def _is_stored(decision: Decision, known: Mapping[EventId, StoredEvent]) -> bool:
    """Whether all that the decision placed is where it was to be.

    A part of it proves nothing: a caller that repeated its append through another process
    may have been given the very place it was to have here.
    """
    return all(known.get(event_id) == event for event_id, event in decision.stored().items())


async def _has_moved(log: LogReader, proposals: Sequence[Proposal], state: LogState) -> bool:
    """Whether the log has gone on since `state` was read, and events may be gone since then that
    were looked for behind that: who is refused is told of what was there at one moment.
    """
    if not any(proposal.no_matches() for proposal in proposals):
        return False
    now = await log.state(())
    return (now.head, now.incarnation) != (state.head, state.incarnation)


def _refuses(decision: Decision) -> bool:
    return any(isinstance(outcome, _REFUSED_ON_A_STATE) for outcome in decision.outcomes)
