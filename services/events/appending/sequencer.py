"""Puts the appends to a log in order: a queue, and one task that drains it in batches.

Each log has one sequencer per process. While one batch is being written the next gathers
in the queue, so the busier a log is, the more appends share one commit. As soon as it is worth
a commit of its own it is prepared, and stays in the queue meanwhile. What a batch comes to is the
committer's part.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from girih.ids import TenantId
from services.events.appending.committer import CommitInstruments, Committer, Prepared
from services.events.domain import Outcome, Placement, Proposal
from services.events.errors import AppendQueueFull
from services.plumbing.budget import Budget
from services.plumbing.errors import ServiceError, ShuttingDown
from services.plumbing.logging import get_logger
from services.plumbing.telemetry import tracing

_QUIET_TURNS = 4
"""Turns of the event loop without a newcomer, after which nobody else is about to arrive:
a call takes about as many from its bytes to the queue."""

_WORTH_WRITING = 200
"""So many events waste no commit, and nobody waits for them to become more."""

_HALF_MIN = 16
"""A half of fewer is not worth a commit of its own."""

_ALL_LOGS = ""
"""Who holds what waits: each log has a limit of its own besides."""

_log = get_logger("sequencer")


@dataclass(frozen=True, kw_only=True)
class SequencerLimits:
    """What sequencers take on at most. An event counts 1, and so does a precondition."""

    batch_weight: int = 1_000
    """Decided and written together, unless one append alone is larger. More save little, and
    while they are written fewer are left to be prepared for the next write."""
    batch_bytes: int = 8 * 2**20
    queue_weight: int = 50_000
    """May wait for one log."""
    queue_bytes: int = 64 * 2**20
    """May wait for one log."""
    total_bytes: int = 192 * 2**20
    """May wait for all logs of the process together."""
    log_count: int = 1_000
    """Logs remembered while nobody appends to them."""


class Instruments(CommitInstruments, Protocol):
    """Who counts what sequencers do."""

    def queued(self, event_count: int) -> None:
        """So many more events wait; fewer when negative."""

    def settled(self, event_count: int, duration_s: float) -> None:
        """A batch of so many events was settled after so long."""

    def appended(self, event_count: int, byte_count: int) -> None:
        """Of those, so many are stored now, which hold so many bytes."""


class Sequencers:
    """The sequencers of a process, one per log, each made when first needed."""

    def __init__(
        self,
        committer_of: Callable[[TenantId], Committer],
        instruments: Instruments,
        limits: SequencerLimits,
    ) -> None:
        self._committer_of = committer_of
        self._instruments = instruments
        self._limits = limits
        self._backlog = Budget(limits.total_bytes, share=limits.total_bytes)
        """The bytes that wait for any log of this process."""
        self._sequencers: OrderedDict[TenantId, Sequencer] = OrderedDict()
        self._closed = False

    async def append(self, tenant: TenantId, proposal: Proposal) -> Sequence[Placement]:
        """Append to the log of `tenant`; see `Sequencer.append`."""
        if self._closed:
            raise _shutting_down()
        return await self._sequencer(tenant).append(proposal)

    async def look_back(self, tenant: TenantId, proposal: Proposal) -> Proposal:
        """`proposal` as it is to be appended; see `Committer.look_back`. Takes no place in the
        queue, and no time unless it has preconditions about events that are not recent.
        """
        return await self._sequencer(tenant).look_back(proposal)

    async def close(self) -> None:
        """Let running batches end, and refuse what waits behind them."""
        self._closed = True
        await asyncio.gather(*[sequencer.close() for sequencer in self._sequencers.values()])

    def _sequencer(self, tenant: TenantId) -> "Sequencer":
        sequencer = self._sequencers.get(tenant)
        if sequencer is None:
            self._forget_one_idle()
            sequencer = Sequencer(
                self._committer_of(tenant), self._instruments, self._limits, self._backlog
            )
            self._sequencers[tenant] = sequencer
        self._sequencers.move_to_end(tenant)
        return sequencer

    def _forget_one_idle(self) -> None:
        if len(self._sequencers) < self._limits.log_count:
            return
        idle = next((t for t, s in self._sequencers.items() if s.is_idle), None)
        if idle is not None:
            self._sequencers.pop(idle).forget()


class Sequencer:
    """Appends to one log, batch after batch."""

    def __init__(
        self,
        committer: Committer,
        instruments: Instruments,
        limits: SequencerLimits,
        backlog: Budget,
    ) -> None:
        self._committer = committer
        self._instruments = instruments
        self._limits = limits
        self._backlog = backlog
        self._worth_writing = min(_WORTH_WRITING, limits.batch_weight)
        self._queue: deque[_Waiting] = deque()
        self._weight = 0
        self._byte_count = 0
        self._draining: asyncio.Task[None] | None = None
        self._is_writing = False
        self._last_weights: deque[int] = deque(maxlen=2)
        """Of the last two batches: as much as comes back together, as a rule."""
        self._ahead: _Ahead | None = None
        """What is settled next, as far as that is known."""

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is being written."""
        return self._draining is None

    async def look_back(self, proposal: Proposal) -> Proposal:
        """`proposal` as it is to be appended."""
        return await self._committer.look_back(proposal)

    def forget(self) -> None:
        """Give back what is remembered of the log, before the sequencer is itself forgotten."""
        self._committer.forget()

    async def append(self, proposal: Proposal) -> Sequence[Placement]:
        """Append all of `proposal` or nothing; returns once it is durable.

        Raises `PreconditionFailed`, `EventIdReused`, `AppendQueueFull`, or
        `DatabaseUnavailable` or `ShuttingDown`, after which it is not known whether the
        events are stored.
        A caller that is cancelled takes its proposal out of the queue; what is already
        being written is written all the same.
        """
        waiting = _Waiting(proposal)
        self._admit(waiting)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="sequencer")
        elif self._is_writing:
            self._look_ahead()
        return await waiting.placements

    async def close(self) -> None:
        """Let the running batch end, and refuse what waits behind it."""
        for waiting in self._take_all():
            waiting.fail(_shutting_down())
        if self._draining is not None:
            await asyncio.wait([self._draining])

    def _admit(self, waiting: "_Waiting") -> None:
        # An empty queue takes anything: one proposal is bounded by itself.
        is_full = self._queue and (
            self._weight + waiting.weight > self._limits.queue_weight
            or self._byte_count + waiting.byte_count > self._limits.queue_bytes
        )
        if not is_full:
            waiting.bytes_lent = self._backlog.take_now(waiting.byte_count, _ALL_LOGS)
        if waiting.bytes_lent is None:
            raise AppendQueueFull("too much waits to be appended", retry_after_s=0.5)
        self._queue.append(waiting)
        self._count(waiting, 1)

    def _count(self, waiting: "_Waiting", sign: int) -> None:
        self._weight += sign * waiting.weight
        self._byte_count += sign * waiting.byte_count
        self._instruments.queued(sign * waiting.event_count)

    async def _drain(self) -> None:
        """Settle batch after batch until nothing waits."""
        batch: list[_Waiting] = []
        try:
            while self._queue:
                batch, prepared = await self._next_batch()
                await self._settle(batch, prepared)
        except BaseException as error:
            for waiting in [*batch, *self._take_all()]:
                waiting.fail(error)
            raise
        finally:
            await self._stop_preparing()
            self._draining = None

    async def _next_batch(self) -> tuple[list["_Waiting"], Prepared | None]:
        """What is settled together next, and what was prepared of it. Whose caller has gone is
        left out, and then nothing was.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            prepared = await ahead.preparing
            if self._queue and all(waiting.is_wanted for waiting in ahead.batch):
                return self._take(ahead.length), prepared
        await self._let_gather()
        self._last_weights.append(self._weight)
        return self._take(len(self._front())), None

    def _look_ahead(self) -> None:
        """Have prepared what waits, if it is worth a commit, while another batch is written."""
        if self._ahead is not None or self._weight < self._worth_writing:
            return
        front = self._front()
        batch = [waiting for waiting in front if waiting.is_wanted]
        preparing = asyncio.create_task(self._prepare(batch), name="prepare a batch")
        self._ahead = _Ahead(len(front), batch, preparing)

    async def _prepare(self, batch: Sequence["_Waiting"]) -> Prepared | None:
        try:
            return await self._committer.prepare([waiting.proposal for waiting in batch])
        except Exception:  # noqa: BLE001 - met once more, and told, when the batch is settled
            return None

    async def _stop_preparing(self) -> None:
        if self._ahead is not None:
            self._ahead.preparing.cancel()
            await asyncio.wait([self._ahead.preparing])
            self._ahead = None

    async def _let_gather(self) -> None:
        """Take what has arrived already into the batch, and wait for nothing that has not.

        Callers that were answered together come back together. The first of them would
        have a batch to itself, and the others would wait until that is durable. Half of many are
        enough: the others come while these are written, and neither side waits for the other.
        """
        quiet_turns, enough = 0, self._worth_writing
        half = sum(self._last_weights) // 2
        if half >= _HALF_MIN:
            enough = min(enough, half)
        while quiet_turns < _QUIET_TURNS and self._weight < enough:
            count = len(self._queue)
            await asyncio.sleep(0)
            quiet_turns = 0 if len(self._queue) > count else quiet_turns + 1

    def _front(self) -> list["_Waiting"]:
        """What would be settled together next."""
        front: list[_Waiting] = []
        weight = byte_count = 0
        for waiting in self._queue:
            weight += waiting.weight
            byte_count += waiting.byte_count
            if front and (
                weight > self._limits.batch_weight or byte_count > self._limits.batch_bytes
            ):
                break
            front.append(waiting)
        return front

    def _take(self, count: int) -> list["_Waiting"]:
        """The first so many, but for those whose caller has gone."""
        taken = [self._take_one() for _ in range(count)]
        return [waiting for waiting in taken if waiting.is_wanted]

    def _take_one(self) -> "_Waiting":
        waiting = self._queue.popleft()
        self._backlog.give_back(waiting.bytes_lent or 0, _ALL_LOGS)
        self._count(waiting, -1)
        return waiting

    def _take_all(self) -> Iterable["_Waiting"]:
        while self._queue:
            yield self._take_one()

    async def _settle(self, batch: Sequence["_Waiting"], prepared: Prepared | None = None) -> None:
        """Give every caller of the batch its outcome, and disturb none with another's."""
        if not batch:
            return
        started_s = time.monotonic()
        try:
            with tracing.shared("append a batch", [one.traceparent for one in batch], {}):
                outcomes = await self._committer.settle(
                    [waiting.proposal for waiting in batch],
                    lambda: any(waiting.is_wanted for waiting in batch),
                    prepared,
                    self._writing,
                )
        except ServiceError as error:
            _fail_all(batch, error)
        except Exception as error:  # noqa: BLE001 - a bug, told to the one who met it
            await self._settle_apart(batch, error)
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.resolve(outcome)
            self._count_appended(batch, outcomes)
            event_count = sum([waiting.event_count for waiting in batch])
            self._instruments.settled(event_count, time.monotonic() - started_s)
        finally:
            self._is_writing = False

    def _count_appended(self, batch: Sequence["_Waiting"], outcomes: Sequence[Outcome]) -> None:
        stored = [
            waiting
            for waiting, outcome in zip(batch, outcomes, strict=True)
            if not isinstance(outcome, ServiceError)
        ]
        self._instruments.appended(
            sum([waiting.event_count for waiting in stored]),
            sum([waiting.byte_count for waiting in stored]),
        )

    def _writing(self) -> None:
        """A batch is on its way."""
        self._is_writing = True
        self._look_ahead()

    async def _settle_apart(self, batch: Sequence["_Waiting"], error: Exception) -> None:
        """Whose append it is that cannot be settled shows when each is tried alone."""
        if len(batch) == 1:
            batch[0].fail(error)
            return
        for waiting in batch:
            await self._settle([waiting])


class _Ahead(NamedTuple):
    """What is settled next, unless one of its callers leaves: it still waits in the queue."""

    length: int
    """So many of the queue: those of `batch`, and others whose callers had gone."""
    batch: Sequence["_Waiting"]
    preparing: "asyncio.Task[Prepared | None]"


class _Waiting:
    """A proposal, and the caller that waits for its placements."""

    __slots__ = (
        "byte_count",
        "bytes_lent",
        "event_count",
        "placements",
        "proposal",
        "traceparent",
        "weight",
    )

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.event_count = len(proposal.events)
        self.weight = self.event_count + sum([one.weight for one in proposal.preconditions])
        self.byte_count = sum([event.byte_count for event in proposal.events]) + sum(
            [one.byte_count for one in proposal.preconditions]
        )
        self.bytes_lent: int | None = None
        self.traceparent = tracing.parent_here()
        self.placements: asyncio.Future[Sequence[Placement]] = (
            asyncio.get_running_loop().create_future()
        )

    @property
    def is_wanted(self) -> bool:
        """False once the caller has gone: cancelling it cancels the future it awaits."""
        return not self.placements.done()

    def resolve(self, outcome: Outcome) -> None:
        if not self.is_wanted:
            return
        if isinstance(outcome, ServiceError):
            self.placements.set_exception(outcome)
        else:
            self.placements.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        is_cancelled = isinstance(error, asyncio.CancelledError)
        if not self.is_wanted:
            # Whoever waits logs the bugs it meets; nobody is left to.
            if not (is_cancelled or isinstance(error, ServiceError)):
                _log.error("an append failed unexpectedly", exc_info=error)
            return
        # A caller must not take the end of the drain for its own cancellation.
        self.placements.set_exception(_shutting_down() if is_cancelled else error)


def _fail_all(batch: Sequence[_Waiting], error: ServiceError) -> None:
    for waiting in batch:
        waiting.fail(error)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the server is shutting down")
