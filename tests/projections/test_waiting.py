"""Calls that wait for projections leave room for those of other tenants."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from girih.ids import Position, TenantId
from services.projections.control.store import ControlStore
from services.projections.control.waiting import Waits
from services.projections.domain import ProjectionKey, ProjectionState
from services.projections.errors import ProjectionWaitsFull


class NothingBegun:
    """No projection has begun."""

    async def states(
        self, _tenant: TenantId, _projections: Sequence[str]
    ) -> Sequence[ProjectionState]:
        return ()


async def test_a_tenant_that_waits_as_often_as_it_may_keeps_no_other_from_it() -> None:
    waits = Waits(cast("ControlStore", NothingBegun()), dict, 8)

    async def wait(tenant: str, timeout_s: float) -> Position:
        key = ProjectionKey(TenantId(tenant), "shop")
        return await waits.until(key, Position(1), timeout_s)

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait("busy", 600.0)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ProjectionWaitsFull):
            await wait("busy", 0.0)
        assert await wait("other", 0.0) == 0
        for task in waiting:
            task.cancel()

    assert await wait("busy", 0.0) == 0
