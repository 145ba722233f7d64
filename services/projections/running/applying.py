"""Applies stretches of a log to one generation: each event once, in transactions that also move
its checkpoint. Knows what is done when that fails, and not where events come from.
"""

import asyncio
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.client import RecordedEvent
from girih.projection import PoisonPolicy, Projection
from services.plumbing.errors import DatabaseUnavailable, Scalar
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import DatabaseBusy
from services.plumbing.postgres.leases import LeaseLost
from services.plumbing.telemetry import tracing
from services.projections.domain import Checkpoint, SetAside, StopCause, Stretch
from services.projections.store import ProjectionStore

HELD_STREAM_COUNT_MAX: Final = 10_000
"""Streams that may be held back before a generation stops: so many are no accident."""

_TOLD_IDS_MAX: Final = 6
"""As many ids as fit into an attribute of a span."""

_BUSY_COUNT_MAX: Final = 3
"""How often a transaction may take too long before it is made smaller."""

_log = get_logger("projections")


class Stopped(Exception):
    """The generation has stopped, which is noted in its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimits:
    """How often, and how soon again, what failed is tried."""

    attempt_count_max: int = 5
    pause_s_min: float = 0.1
    pause_s_max: float = 30.0


class ApplyInstruments(Protocol):
    """Where it is counted."""

    def applied(self, projection: str, event_count: int, duration_s: float) -> None: ...

    def failed(self, projection: str) -> None:
        """An attempt failed, and will be repeated or not."""

    def set_aside(self, projection: str, event_count: int) -> None: ...


class Applier:
    """Moves one generation on."""

    def __init__(
        self,
        store: ProjectionStore,
        projection: Projection,
        checkpoint: Checkpoint,
        poison_policy: PoisonPolicy,
        held_streams: Collection[str],
        instruments: ApplyInstruments,
        limits: FailureLimits,
    ) -> None:
        self._store = store
        self._projection = projection
        self.checkpoint = checkpoint
        self._poison_policy = poison_policy
        self._held_streams = set(held_streams)
        self._instruments = instruments
        self._limits = limits

    async def apply(self, stretch: Stretch) -> None:
        """Apply a stretch that begins behind the checkpoint. Raises Stopped and LeaseLost.

        While the database is away it is tried for ever.
        """
        error = await self._attempt(stretch)
        if error is None:
            return
        if len(stretch.events) > 1:
            await self._apply_halves(stretch)
        elif stretch.events:
            await self._try_again(stretch, error)
        else:
            raise error

    async def _attempt(self, stretch: Stretch) -> Exception | None:
        """Apply a stretch; answers what its projection raised, or that it took too long."""
        backoff = Backoff(self._limits.pause_s_min, self._limits.pause_s_max)
        while True:
            try:
                await self._commit(stretch)
            except LeaseLost:
                raise
            except (DatabaseUnavailable, DatabaseBusy) as error:
                self._instruments.failed(self._projection.name)
                is_too_long = isinstance(error, DatabaseBusy) and backoff.count >= _BUSY_COUNT_MAX
                # One event alone is never taken for poison because the database is busy.
                if is_too_long and len(stretch.events) > 1:
                    return error
                _log.warning("the database is away", **self._names, problem=str(error))
                await asyncio.sleep(backoff.next_s())
            except Exception as error:  # noqa: BLE001 - a projection may raise anything
                return error
            else:
                return None

    async def _commit(self, stretch: Stretch) -> None:
        started_s = time.perf_counter()
        wanted = [one for one in stretch.events if one.stream not in self._held_streams]
        held_back = [
            SetAside(event=one, problem="behind an event of its stream", is_held_back=True)
            for one in stretch.events
            if one.stream in self._held_streams
        ]
        with self._traced(stretch):
            async with self._store.transaction(self.checkpoint) as transaction:
                if wanted:
                    await self._projection.apply(wanted, transaction)
                if held_back:
                    await transaction.set_aside(held_back)
                await transaction.move(stretch.position, stretch.incarnation, len(wanted))
        self._moved(stretch)
        duration_s = time.perf_counter() - started_s
        self._instruments.applied(self._projection.name, len(wanted), duration_s)

    def _traced(self, stretch: Stretch) -> AbstractContextManager[None]:
        """A trace of its own: it is done for all whose events are in the stretch."""
        if not tracing.is_on():
            return nullcontext()
        caused_by = sorted({one.correlation_id for one in stretch.events})
        attributes: dict[str, Scalar] = {
            "girih.projection": self._projection.name,
            "girih.tenant": self.checkpoint.key.tenant,
            "girih.position": stretch.position,
            "girih.event_count": len(stretch.events),
            "girih.correlation_ids": ",".join(caused_by[:_TOLD_IDS_MAX]),
        }
        return tracing.background(f"apply {self._projection.name}", attributes)

    async def _apply_halves(self, stretch: Stretch) -> None:
        """One of its events fails: find it, and apply what is before it."""
        middle = len(stretch.events) // 2
        first, second = stretch.events[:middle], stretch.events[middle:]
        await self.apply(replace(stretch, events=first, position=first[-1].position))
        await self.apply(replace(stretch, events=second))

    async def _try_again(self, stretch: Stretch, error: Exception) -> None:
        """Try an event again that failed, and do by policy what is done when it stays so."""
        backoff = Backoff(self._limits.pause_s_min, self._limits.pause_s_max)
        for attempt_count in range(1, self._limits.attempt_count_max):
            await self._note(stretch.events[0], error, attempt_count, cause=None)
            await asyncio.sleep(backoff.next_s())
            again = await self._attempt(stretch)
            if again is None:
                return
            error = again
        await self._give_up(stretch, error)

    async def _give_up(self, stretch: Stretch, error: Exception) -> None:
        (event,) = stretch.events
        cause = None
        if self._poison_policy is PoisonPolicy.STOP:
            cause = StopCause.POISON
        elif len(self._held_streams) >= HELD_STREAM_COUNT_MAX:
            cause = StopCause.QUARANTINE_FULL
        if cause is None:
            await self._set_aside(stretch, event, error)
            return
        await self._note(event, error, self._limits.attempt_count_max, cause=cause)
        names = {**self._names, "position": event.position}
        _log.error("a projection has stopped", **names, exc_info=error)
        raise Stopped(cause.value)

    async def _set_aside(self, stretch: Stretch, event: RecordedEvent, error: Exception) -> None:
        one = SetAside(
            event=event,
            problem=_words(error),
            is_held_back=False,
            attempt_count=self._limits.attempt_count_max,
        )
        async with self._store.transaction(self.checkpoint) as transaction:
            await transaction.set_aside([one])
            await transaction.move(stretch.position, stretch.incarnation, 0)
        self._held_streams.add(event.stream)
        self._moved(stretch)
        self._instruments.set_aside(self._projection.name, 1)
        names = {**self._names, "position": event.position}
        _log.error("an event was put aside", **names, exc_info=error)

    async def _note(
        self, event: RecordedEvent, error: Exception, attempt_count: int, cause: StopCause | None
    ) -> None:
        self._instruments.failed(self._projection.name)
        await self._store.note_failure(
            self.checkpoint,
            cause=cause,
            problem=_words(error),
            position=event.position,
            attempt_count=attempt_count,
        )

    def _moved(self, stretch: Stretch) -> None:
        self.checkpoint = replace(
            self.checkpoint, position=stretch.position, incarnation=stretch.incarnation
        )

    @property
    def _names(self) -> dict[str, object]:
        key = self.checkpoint.key
        return {
            "tenant": key.tenant,
            "projection": key.projection,
            "generation": self.checkpoint.generation,
        }


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
