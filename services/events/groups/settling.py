"""Writes what the consumers of a process have settled, those of one group by one statement.

While a write is on its way, what others of the group have to write waits, and goes with the next:
so four consumers of a process cost the database little more than one. Knows no storage.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from girih.ids import TenantId
from services.events.lanes.group import GroupName, LaneChange
from services.plumbing.errors import ServiceError

_Group = tuple[TenantId, GroupName]


Settle = Callable[[TenantId, GroupName, Sequence[LaneChange]], Awaitable[frozenset[int]]]
"""Writes changes: `LaneStore.settle`."""


class _Waiting(NamedTuple):
    """What one consumer waits for to be written."""

    changes: Sequence[LaneChange]
    written: "asyncio.Future[frozenset[int]]"

    @property
    def lanes(self) -> frozenset[int]:
        return frozenset(change.lane for change in self.changes)


class Settlements:
    """What waits to be written of the groups of a process."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._waiting: dict[_Group, deque[_Waiting]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def settle(
        self, tenant: TenantId, group: GroupName, changes: Sequence[LaneChange]
    ) -> frozenset[int]:
        """Write how far lanes are, behind what was to be written of them before.

        Answers those that are written, and raises, as `LaneStore.settle` does. What is begun is
        written, whether the caller still waits for it or not.
        """
        one = _Waiting(changes, asyncio.get_running_loop().create_future())
        key = (tenant, group)
        if key in self._waiting:
            self._waiting[key].append(one)
        else:
            self._waiting[key] = deque([one])
            task = asyncio.create_task(self._write(key), name="settle events of a group")
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return await one.written

    async def _write(self, key: _Group) -> None:
        """All that waits, until nothing does."""
        waiting = self._waiting[key]
        while waiting:
            await self._write_together(key, _taken(waiting))
        del self._waiting[key]

    async def _write_together(self, key: _Group, batch: Sequence[_Waiting]) -> None:
        changes = [change for one in batch for change in one.changes]
        try:
            accepted = await self._settle(*key, changes)
        except ServiceError as error:
            for one in batch:
                _fail(one, error)
        except Exception as error:  # noqa: BLE001 - whoever waits is told of it
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            # What is wrong with the changes of one is no fault of the others.
            for one in batch:
                await self._write_together(key, [one])
        else:
            for one in batch:
                if not one.written.done():
                    one.written.set_result(accepted & one.lanes)


def _taken(waiting: deque[_Waiting]) -> Sequence[_Waiting]:
    """The first that wait, each lane once: of two that lead it one has lost it, and which of them
    an answer means must be known.
    """
    batch: list[_Waiting] = []
    lanes: set[int] = set()
    while waiting and lanes.isdisjoint(waiting[0].lanes):
        batch.append(waiting.popleft())
        lanes |= batch[-1].lanes
    return batch


def _fail(one: _Waiting, error: Exception) -> None:
    if not one.written.done():
        one.written.set_exception(error)
