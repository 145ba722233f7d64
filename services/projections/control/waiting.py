"""Waits until a projection has come somewhere, here or in another process. Knows no transport."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from girih.ids import NO_POSITION, Position, TenantId
from services.projections.control.store import ControlStore
from services.projections.domain import ProjectionKey
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
        self._store = store
        self._runs = runs
        self._count_max = count_max
        self._tenant_count_max = max(1, count_max // TENANT_PART)
        self._count_of: Counter[TenantId] = Counter()

    async def until(self, key: ProjectionKey, position: Position, timeout_s: float) -> Position:
        """Where the projection is once it is at `position`, or when the time is up.

        Raises ProjectionStopped when it will not come there by itself, and ProjectionWaitsFull.
        """
        is_full = self._count_of.total() >= self._count_max
        if is_full or self._count_of[key.tenant] >= self._tenant_count_max:
            raise ProjectionWaitsFull("too many calls wait for projections", retry_after_s=1.0)
        self._count_of[key.tenant] += 1
        try:
            return await self._until(key, position, time.monotonic() + timeout_s)
        finally:
            self._count_of[key.tenant] -= 1
            if not self._count_of[key.tenant]:
                del self._count_of[key.tenant]

    async def _until(self, key: ProjectionKey, position: Position, until_s: float) -> Position:
        pause_s = _LOOK_S_MIN
        while True:
            reached = await self._look(key, position)
            left_s = until_s - time.monotonic()
            if reached >= position or left_s <= 0:
                return reached
            if (run := self._runs().get(key)) is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _LOOK_ALL_THE_SAME_S)):
                        await run.until(position)
            else:
                await asyncio.sleep(min(left_s, pause_s))
                pause_s = min(_LOOK_S_MAX, 2 * pause_s)

    async def _look(self, key: ProjectionKey, position: Position) -> Position:
        states = await self._store.states(key.tenant, [key.projection])
        if not states:
            return NO_POSITION
        active = states[0].active
        reached = active.checkpoint.position
        if reached < position and active.stop is not None and states[0].building is None:
            raise ProjectionStopped(key.projection, reached, active.failed_position)
        return reached
