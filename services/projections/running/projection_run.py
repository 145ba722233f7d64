"""Runs one projection of one tenant under one lease: its active generation and the one being built.

Knows no database and no transport: what is written goes through a store, what is read comes from
a log.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from girih.client import BeyondEnd, LogReplaced, Query
from girih.projection import Projection, ReplacedPolicy
from services.plumbing.logging import get_logger
from services.projections.domain import (
    Checkpoint,
    Generation,
    ProjectionKey,
    ProjectionState,
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
from services.projections.store import ProjectionStore

_log = get_logger("projections")


class Log(Protocol):
    """A log behind a checkpoint."""

    async def take(self, event_count_max: int) -> Stretch:
        """The next stretch, of up to so many events; waits until there is one. Raises LogReplaced
        and BeyondEnd when the log is another than the one that was read."""


OpenLog = Callable[[Checkpoint, Sequence[Query]], AbstractAsyncContextManager[Log]]
"""The log of a checkpoint's tenant, behind it."""


class ProjectionRun:
    """One projection of one tenant, while a lease is held."""

    def __init__(
        self,
        key: ProjectionKey,
        fence: int,
        projection: Projection,
        store: ProjectionStore,
        open_log: OpenLog,
        instruments: ApplyInstruments,
        limits: FailureLimits,
        event_count_max: int,
    ) -> None:
        self._key = key
        self._fence = fence
        self._projection = projection
        self._store = store
        self._open_log = open_log
        self._instruments = instruments
        self._limits = limits
        self._event_count_max = event_count_max
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """What the tenant wants of the projection may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Run for ever. Ends with LeaseLost, and with what the store or the log raise."""
        while True:
            self._changed.clear()
            state = await self._begin()
            if state.is_paused:
                await self._changed.wait()
                continue
            async for _ in self._store.forget_dropped(self._key, self._projection):
                pass
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
        is_known = generation.checkpoint.version == self._projection.version
        return generation.stop is None and is_known and not is_replaced

    async def _advance(self, state: ProjectionState, generation: Generation) -> None:
        """Apply what comes; ends when the state is to be looked at again."""
        applier = await self._applier(state, generation)
        is_building = generation is state.building
        try:
            async with self._open_log(applier.checkpoint, self._projection.queries) as log:
                size = BatchSize(self._event_count_max)
                while True:
                    stretch = await log.take(size.event_count)
                    started_s = time.perf_counter()
                    await applier.apply(stretch)
                    size.took(len(stretch.events), time.perf_counter() - started_s)
                    if is_building and await self._swapped(state, applier.checkpoint):
                        return
        except Stopped:
            return
        except (LogReplaced, BeyondEnd) as error:
            await self._replaced(state, applier.checkpoint, error)

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
            self._limits,
        )

    async def _swapped(self, state: ProjectionState, built: Checkpoint) -> bool:
        """Whether what was built is read from now on: it is as far as what was read before, which
        may be of no use as a measure."""
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
