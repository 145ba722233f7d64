"""Waits until a projection has come somewhere, here or in another process. Knows no transport.

Where it runs here, that is told as it happens. All who wait for others look at the database
together, over one connection: how many they are is nothing to it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from girih.ids import NO_POSITION, Position, TenantId
from services.projections.control.store import ControlStore
from services.projections.domain import ProjectionKey, ProjectionState
from services.projections.errors import ProjectionStopped, ProjectionWaitsFull
from services.projections.running.runner import Run

TENANT_PART: Final = 4
"""A tenant's calls are one in so many at most: the others are for other tenants."""
_LOOK_S_MIN: Final = 0.01
_LOOK_S_MAX: Final = 0.25
"""How often it is looked where another process runs the projection."""
_LOOK_ALL_THE_SAME_S: Final = 1.0
"""How often where this one does, which tells at once."""


class Waits:
    """Calls that wait for projections."""

    def __init__(
        self,
        store: ControlStore,
        runs: Callable[[], Mapping[ProjectionKey, Run]],
        count_max: int,
    ) -> None:
        """`runs` are those of this process."""
        self._looks = Looks(store)
        self._runs = runs
        self._count_max = count_max
        self._tenant_count_max = max(1, count_max // TENANT_PART)
        self._count_of: Counter[TenantId] = Counter()

    async def until(self, key: ProjectionKey, position: Position, timeout_s: float) -> Position:
        """Where the projection is once it is at `position`, or when the time is up.

        Raises ProjectionStopped when it will not come there by itself, and, when it is not there
        yet, ProjectionWaitsFull.
        """
        until_s = time.monotonic() + timeout_s
        reached = await self._look(key, position)
        if reached >= position or timeout_s <= 0:
            return reached
        with self._admitted(key.tenant):
            return await self._until(key, position, until_s)

    @contextmanager
    def _admitted(self, tenant: TenantId) -> Iterator[None]:
        is_full = self._count_of.total() >= self._count_max
        if is_full or self._count_of[tenant] >= self._tenant_count_max:
            raise ProjectionWaitsFull("too many calls wait for projections", retry_after_s=1.0)
        self._count_of[tenant] += 1
        try:
            yield
        finally:
            self._count_of[tenant] -= 1
            if not self._count_of[tenant]:
                del self._count_of[tenant]

    async def _until(self, key: ProjectionKey, position: Position, until_s: float) -> Position:
        pause_s = _LOOK_S_MIN
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            if (run := self._runs().get(key)) is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _to_next(_LOOK_ALL_THE_SAME_S))):
                        await run.until(position)
            else:
                await asyncio.sleep(min(left_s, _to_next(pause_s)))
                pause_s = min(_LOOK_S_MAX, 2 * pause_s)
            reached = await self._look(key, position)
            if reached >= position or time.monotonic() >= until_s:
                return reached

    async def _look(self, key: ProjectionKey, position: Position) -> Position:
        run = self._runs().get(key)
        if run is not None and run.place.position >= position:
            return run.place.position
        state = await self._looks.state(key)
        if state is None:
            return NO_POSITION
        active = state.active
        reached = active.checkpoint.position
        if reached < position and active.stop is not None and state.building is None:
            raise ProjectionStopped(key.projection, reached, active.failed_position)
        return reached


class Looks:
    """How projections stand, asked for all who ask at once: one look at a time."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store
        self._asked: set[ProjectionKey] = set()
        self._next: asyncio.Task[Mapping[ProjectionKey, ProjectionState]] | None = None
        self._looking: asyncio.Task[Mapping[ProjectionKey, ProjectionState]] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def state(self, key: ProjectionKey) -> ProjectionState | None:
        """As it stands now; None before it has begun."""
        self._asked.add(key)
        if self._next is None:
            self._next = asyncio.create_task(self._look(), name="look at projections")
            # It is nobody's error when all who asked are gone.
            self._next.add_done_callback(lambda look: look.cancelled() or look.exception())
        return (await asyncio.shield(self._next)).get(key)

    async def _look(self) -> Mapping[ProjectionKey, ProjectionState]:
        async with self._one_at_a_time:
            asked, self._asked = self._asked, set()
            self._looking, self._next = self._next, None
            return await self._store.states_of(asked)


def _to_next(interval_s: float) -> float:
    """For how long to pause until a multiple of the interval, the same for all who wait: so they
    look together.
    """
    return interval_s - time.monotonic() % interval_s
