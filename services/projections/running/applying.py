"""Applies stretches of a log to one generation: each event once, in transactions that also move
its checkpoint. Knows what is done when that fails, and not where events come from.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.client import RecordedEvent
from girih.projection import PoisonPolicy, Projection
from services.plumbing.errors import DatabaseUnavailable, Scalar
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import DatabaseBusy, is_of_data
from services.plumbing.postgres.leases import LeaseLost
from services.plumbing.telemetry import tracing
from services.projections.domain import Checkpoint, SetAside, StopCause, Stretch
from services.projections.store import ProjectionStore

HELD_STREAM_COUNT_MAX: Final = 10_000
"""Streams that may be held back before a generation stops: so many are no accident."""

_TRACED_IDS_MAX: Final = 6
"""As many ids as fit into an attribute of a span."""

_BUSY_COUNT_MAX: Final = 3
"""How often a transaction may take too long before it is made smaller."""

_log = get_logger("projections")


class Stopped(Exception):
    """The generation has stopped, which is noted in its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimits:
    """How often, and how soon again, what failed is tried that may pass."""

    attempt_count_max: int = 5
    pause_s_min: float = 0.1
    pause_s_max: float = 30.0


@dataclass(frozen=True, slots=True)
class _Failing:
    """An event that is to be tried again."""

    stretch: Stretch
    error: Exception
    """What it failed with last."""
    attempt_count: int


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
        self._failing: _Failing | None = None

    async def apply(self, stretch: Stretch, is_over: Callable[[], bool]) -> None:
        """Apply a stretch that begins behind the checkpoint. Raises Stopped and LeaseLost.

        Where events fail it may end within the stretch, as the checkpoint tells: when an event is
        to be tried again after a pause, see `retry`, and once `is_over`.
        While the database is away it is tried for ever.
        """
        error = await self._attempt(stretch)
        if error is None:
            return
        if len(stretch.events) > 1:
            await self._apply_halves(stretch, is_over)
        elif stretch.events:
            await self._failed(_Failing(stretch, error, 1))
        else:
            raise error

    async def retry(self) -> None:
        """Try an event again that failed, after pauses, until it is applied or given up; nothing
        when there is none. Raises as `apply` does.
        """
        backoff = Backoff(self._limits.pause_s_min, self._limits.pause_s_max)
        while self._failing is not None:
            await asyncio.sleep(backoff.next_s())
            await self._try_again(self._failing)

    async def _attempt(self, stretch: Stretch) -> Exception | None:
        """Apply a stretch; answers what its projection raised, or that it took too long again and
        again.
        """
        backoff = Backoff(self._limits.pause_s_min, self._limits.pause_s_max)
        while True:
            try:
                await self._commit(stretch)
            except LeaseLost:
                raise
            except (DatabaseUnavailable, DatabaseBusy) as error:
                self._instruments.failed(self._projection.name)
                if isinstance(error, DatabaseBusy) and backoff.count >= _BUSY_COUNT_MAX:
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
            "girih.correlation_ids": ",".join(caused_by[:_TRACED_IDS_MAX]),
        }
        return tracing.background(f"apply {self._projection.name}", attributes)

    async def _apply_halves(self, stretch: Stretch, is_over: Callable[[], bool]) -> None:
        """One of its events fails: find it, and apply what is before it."""
        middle = len(stretch.events) // 2
        first, second = stretch.events[:middle], stretch.events[middle:]
        await self.apply(replace(stretch, events=first, position=first[-1].position), is_over)
        if self.checkpoint.position == first[-1].position and not is_over():
            await self.apply(replace(stretch, events=second), is_over)

    async def _failed(self, failing: _Failing) -> None:
        """An event failed alone: do by policy what is done with poison, or have it tried again."""
        (event,) = failing.stretch.events
        if self._is_poison(failing):
            await self._give_up(failing)
            return
        await self._note(event, failing.error, failing.attempt_count, cause=None)
        self._failing = failing
        # What fails alike at once is poison, and what waits behind it need not wait for pauses.
        if failing.attempt_count == 1 and not _may_pass(failing.error):
            await self._try_again(failing)

    async def _try_again(self, failing: _Failing) -> None:
        self._failing = None
        error = await self._attempt(failing.stretch)
        if error is None:
            return
        again = _Failing(failing.stretch, error, failing.attempt_count + 1)
        if _may_pass(error) or _words(error) != _words(failing.error):
            await self._failed(again)
        else:
            await self._give_up(again)

    def _is_poison(self, failing: _Failing) -> bool:
        """One that the database is too busy for never is, however often that happens."""
        if isinstance(failing.error, DatabaseBusy):
            return False
        is_tried_enough = failing.attempt_count >= self._limits.attempt_count_max
        return is_tried_enough or is_of_data(failing.error)

    async def _give_up(self, failing: _Failing) -> None:
        (event,) = failing.stretch.events
        cause = None
        if self._poison_policy is PoisonPolicy.STOP:
            cause = StopCause.POISON
        elif len(self._held_streams) >= HELD_STREAM_COUNT_MAX:
            cause = StopCause.QUARANTINE_FULL
        if cause is None:
            await self._set_aside(event, failing)
            return
        await self._note(event, failing.error, failing.attempt_count, cause=cause)
        names = {**self._names, "position": event.position}
        _log.error("a projection has stopped", **names, exc_info=failing.error)
        raise Stopped(cause.value)

    async def _set_aside(self, event: RecordedEvent, failing: _Failing) -> None:
        stretch = failing.stretch
        one = SetAside(
            event=event,
            problem=_words(failing.error),
            is_held_back=False,
            attempt_count=failing.attempt_count,
        )
        async with self._store.transaction(self.checkpoint) as transaction:
            await transaction.set_aside([one])
            await transaction.move(stretch.position, stretch.incarnation, 0)
        self._held_streams.add(event.stream)
        self._moved(stretch)
        self._instruments.set_aside(self._projection.name, 1)
        names = {**self._names, "position": event.position}
        _log.error("an event was put aside", **names, exc_info=failing.error)

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


def _may_pass(error: Exception) -> bool:
    """Whether it tells of the world outside, and may be gone a while later."""
    return isinstance(error, OSError | DatabaseBusy)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
