"""The consumers of this process, and what they leave behind. Knows neither storage nor wire."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from girih.ids import TenantId
from services.events.lanes.group import GroupName
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger

LEAVE_S: Final = 5.0
"""How long a consumer may take to give up what it has. What it does not give up runs out."""

_log = get_logger("groups")


class Consumers:
    """Who consumes which group here: so that one learns at once that another came or went, here or
    elsewhere."""

    def __init__(self) -> None:
        self.announce: Callable[[TenantId, GroupName], None] = _to_nobody
        """Has other processes hear that a group has changed."""
        self._wakes: dict[tuple[TenantId, GroupName], dict[Callable[[], None], None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def add(self, tenant: TenantId, group: GroupName, wake: Callable[[], None]) -> None:
        """`wake` is called when the group has changed."""
        self._wakes.setdefault((tenant, group), {})[wake] = None

    def remove(self, tenant: TenantId, group: GroupName, wake: Callable[[], None]) -> None:
        wakes = self._wakes.get((tenant, group), {})
        wakes.pop(wake, None)
        if not wakes:
            self._wakes.pop((tenant, group), None)

    def changed(self, tenant: TenantId, group: GroupName) -> None:
        """A group has changed, or lanes of it are free."""
        self.wake_all(tenant, group)
        self.announce(tenant, group)

    def wake_all(self, tenant: TenantId, group: GroupName) -> None:
        """Another process said so."""
        for wake in list(self._wakes.get((tenant, group), ())):
            wake()

    def leave(self, leaving: Coroutine[Any, Any, None]) -> None:
        """Have a consumer give up what it has: its call, which has ended, waits for nothing."""
        task = asyncio.create_task(self._leave(leaving), name="give up lanes")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Return once all who left have given up what they had."""
        while self._leaving:
            await asyncio.wait(self._leaving)

    async def _leave(self, leaving: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(LEAVE_S):
                await leaving
        except (ServiceError, TimeoutError) as error:
            _log.warning("lanes were not given up, and will run out", problem=str(error))
        except Exception as error:  # noqa: BLE001 - nobody waits for it, so it is told here
            _log.error("lanes were not given up, and will run out", exc_info=error)


def _to_nobody(_tenant: TenantId, _group: GroupName) -> None:
    pass
