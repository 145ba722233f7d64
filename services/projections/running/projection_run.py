"""Runs one projection of one tenant under one lease: its active generation and the one being built.

Knows no database and no transport: what is written goes through a store, what is read comes from
a log.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from girih.client import BeyondEnd, LogReplaced, Query
from girih.ids import NO_POSITION, Position
from girih.projection import Projection, ReplacedPolicy
from services.plumbing.logging import get_logger
from services.projections.domain import (
    Checkpoint,
    Generation,
    ProjectionKey,
    ProjectionState,
    ReadPlace,
    RebuildCause,
    StopCause,
    Stretch,
)
from services.projections.running.applying import (
    Applier,
    ApplyInstruments,
    FailureLimits,
    Stopped,
)
from services.projections.running.batching import BatchSize
from services.projections.running.lag import LagClock
from services.projections.running.replaying import EventAt, Replayer
from services.projections.running.turns import Turn, Turns
from services.projections.store import ProjectionStore

POSITION_MAX: Final = Position(2**63 - 1)
_TURN_LOOK_S: Final = 1.0
"""How often it is looked whether others wait, where nothing comes."""

_log = get_logger("projections")


class Log(Protocol):
    """A log behind a checkpoint."""

    async def take(self, event_count_max: int) -> Stretch | None:
        """The next stretch, of up to so many events; waits until there is one. None, once, when
        what was taken is all that is known of. Raises LogReplaced and BeyondEnd when the log is
        another than the one that was read."""

    async def end(self) -> Position:
        """Where the log ends now."""


OpenLog = Callable[[Checkpoint, Sequence[Query]], AbstractAsyncContextManager[Log]]
"""The log of a checkpoint's tenant, behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What one projection of one tenant may take."""

    event_count_max: int = 5_000
    """In one transaction."""
    idle_s: float = 60.0
    """How long a log is followed in which nothing happens."""
    failures: FailureLimits = field(default_factory=FailureLimits)


class _Outcome(Enum):
    """Why a log is not followed any more."""

    IDLE = auto()
    """Nothing came for long, or others wait and the log has come to its end."""
    TURN_OVER = auto()
    """Others wait, or an event is to be tried again later."""
    SWAPPED = auto()
    """What was being built is read from now on."""


class ProjectionRun:
    """One projection of one tenant, while a lease is held."""

    def __init__(
        self,
        key: ProjectionKey,
        fence: int,
        projection: Projection,
        store: ProjectionStore,
        open_log: OpenLog,
        event_at: EventAt,
        instruments: ApplyInstruments,
        limits: RunLimits,
        turns: Turns,
    ) -> None:
        self._key = key
        self._fence = fence
        self._projection = projection
        self._store = store
        self._open_log = open_log
        self._event_at = event_at
        self._instruments = instruments
        self._limits = limits
        self._turns = turns
        self._changed = asyncio.Event()
        self._moved = asyncio.Condition()
        self.head: Position | None = None
        """Where the log ends, as was told last."""
        self._is_awaited = False
        """Somebody waits for more than there was."""
        self._progress = asyncio.Event()
        self._lag = LagClock()
        self.place = ReadPlace(0, NO_POSITION)
        """What readers see."""
        self.is_stopped = False
        """It stands still until somebody does something about it."""

    def look_again(self) -> None:
        """What the tenant wants of the projection may have changed."""
        self._changed.set()

    def lag_s(self) -> float:
        """For how long readers have been without what the log holds. Also for other threads."""
        return self._lag.lag_s()

    async def log_moved(self, head: Position) -> None:
        """The log ends at `head`, or behind it."""
        async with self._moved:
            self.head = head
            self._lag.moved(head)
            self._moved.notify_all()

    async def until(self, position: Position) -> None:
        """Return once readers see the log up to a position. It is followed, if it was not."""
        async with self._moved:
            self._is_awaited = True
            self._moved.notify_all()
        while self.place.position < position:
            await self._progress.wait()

    def _reached(self, read: Checkpoint) -> None:
        self.place = ReadPlace(read.generation, read.position)
        self._lag.reached(read.position)
        self._progressed()

    def _progressed(self) -> None:
        """Have those look who wait."""
        self._progress.set()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Run for ever. Ends with LeaseLost, and with what the store or the log raise."""
        while True:
            self._changed.clear()
            state = await self._begin()
            self._reached(state.active.checkpoint)
            self.is_stopped = any(one.stop for one in (state.active, state.building) if one)
            if state.is_paused:
                await self._changed.wait()
                continue
            async for _ in self._store.forget_dropped(self._key, self._projection):
                pass
            if state.active.quarantined_count and self._is_known(state.active):
                await self._replayer(state.active.checkpoint).settle()
                state = await self._begin()
            await self._run_generations(state)

    async def _begin(self) -> ProjectionState:
        """The state as it is now; what was built by another version is being built anew."""
        version = self._projection.version
        state = await self._store.begin(self._key, version, self._fence)
        if state.active.checkpoint.version == version:
            return state
        if state.building is None or state.building.checkpoint.version != version:
            await self._rebuild(RebuildCause.NEW_VERSION)
            return await self._store.begin(self._key, version, self._fence)
        return state

    async def _run_generations(self, state: ProjectionState) -> None:
        """Until the state may be another one."""
        works: list[Awaitable[object]] = [self._changed.wait()]
        if self._may_advance(state, state.active):
            works.append(self._advance(state, state.active))
        if state.building is not None and self._may_advance(state, state.building):
            works.append(self._advance(state, state.building))
        await _first_of(works)

    def _may_advance(self, state: ProjectionState, generation: Generation) -> bool:
        """Neither stopped, nor of a version that this code does not know, nor of another log."""
        is_replaced = (
            generation is state.active and state.rebuild_cause is RebuildCause.LOG_REPLACED
        )
        return generation.stop is None and self._is_known(generation) and not is_replaced

    def _is_known(self, generation: Generation) -> bool:
        return generation.checkpoint.version == self._projection.version

    def _replayer(self, checkpoint: Checkpoint) -> Replayer:
        return Replayer(self._store, self._projection, checkpoint, self._event_at)

    async def _advance(self, state: ProjectionState, generation: Generation) -> None:
        """Apply what comes; ends when the state is to be looked at again."""
        applier = await self._applier(state, generation)
        size = BatchSize(self._limits.event_count_max)
        try:
            while (outcome := await self._follow(state, applier, size)) is not _Outcome.SWAPPED:
                if outcome is _Outcome.IDLE:
                    await self._until_moved(applier.checkpoint.position)
                await applier.retry()
                self._applied(state, applier)
        except Stopped:
            self.is_stopped = True
            self._progressed()
        except (LogReplaced, BeyondEnd) as error:
            await self._replaced(state, applier.checkpoint, error)

    async def _follow(
        self, state: ProjectionState, applier: Applier, size: BatchSize
    ) -> "_Outcome":
        """Follow the log while there is something in it, and it is our turn."""
        async with (
            self._turns.turn() as turn,
            self._open_log(applier.checkpoint, self._projection.queries) as log,
        ):
            end = await log.end() if _is_building(state, applier) else POSITION_MAX
            while True:
                if applier.checkpoint.position >= end and await self._swapped(state, applier):
                    return _Outcome.SWAPPED
                position = applier.checkpoint.position
                stretch = await self._taken(log, turn, position, size.event_count)
                if stretch is None:
                    return _Outcome.IDLE
                started_s = time.perf_counter()
                await applier.apply(stretch, lambda: turn.is_over)
                size.took(len(stretch.events), time.perf_counter() - started_s)
                self._applied(state, applier)
                # Behind a stretch, so that each turn comes to something.
                if applier.checkpoint.position < stretch.position or turn.is_over:
                    return _Outcome.TURN_OVER

    async def _taken(
        self, log: Log, turn: Turn, position: Position, event_count_max: int
    ) -> Stretch | None:
        """The next stretch behind a position; None when nothing comes for long, or none is there
        and others wait."""
        idle_until_s = time.monotonic() + self._limits.idle_s
        is_at_end = False
        while (left_s := idle_until_s - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _TURN_LOOK_S)):
                    stretch = await log.take(event_count_max)
                    if stretch is not None:
                        return stretch
                    is_at_end = True
            # What reads the log may not know yet of what is known to be there: it comes.
            is_more_known = self.head is not None and self.head > position
            if turn.is_over or (turn.is_wanted and is_at_end and not is_more_known):
                break
        return None

    def _applied(self, state: ProjectionState, applier: Applier) -> None:
        if not _is_building(state, applier):
            self._reached(applier.checkpoint)

    async def _until_moved(self, position: Position) -> None:
        """Until the log is known to go on behind a position, or nothing is known of it."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: self._is_awaited or self.head is None or self.head > position
            )
            self._is_awaited = False

    async def _applier(self, state: ProjectionState, generation: Generation) -> Applier:
        checkpoint = generation.checkpoint
        held = await self._store.held_streams(checkpoint) if generation.quarantined_count else ()
        return Applier(
            self._store,
            self._projection,
            checkpoint,
            state.poison_policy or self._projection.poison_policy,
            held,
            self._instruments,
            self._limits.failures,
        )

    async def _swapped(self, state: ProjectionState, applier: Applier) -> bool:
        """Whether what was built, up to where the log ended, is read from now on: it is no less
        far than what is read now, unless that is of another version or log.
        """
        built = applier.checkpoint
        is_other = (
            state.rebuild_cause is RebuildCause.LOG_REPLACED
            or state.active.checkpoint.version != built.version
        )
        return await self._store.swap(built, is_behind_allowed=is_other)

    async def _replaced(
        self, state: ProjectionState, checkpoint: Checkpoint, error: Exception
    ) -> None:
        """The log does not hold any longer what was read of it."""
        policy = state.replaced_policy or self._projection.replaced_policy
        names = {"tenant": self._key.tenant, "projection": self._key.projection}
        _log.error("the log was replaced", **names, policy=policy.value, problem=str(error))
        if policy is ReplacedPolicy.REBUILD:
            await self._rebuild(RebuildCause.LOG_REPLACED)
            return
        await self._store.note_failure(
            checkpoint,
            cause=StopCause.LOG_REPLACED,
            problem=str(error),
            position=None,
            attempt_count=1,
        )

    async def _rebuild(self, cause: RebuildCause) -> None:
        version = self._projection.version
        await self._store.begin_rebuild(self._key, version, cause, self._fence)


def _is_building(state: ProjectionState, applier: Applier) -> bool:
    return applier.checkpoint.generation != state.active.checkpoint.generation


async def _first_of(works: Sequence[Awaitable[object]]) -> None:
    """Until one has ended; the others are cancelled, and have ended too. Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
