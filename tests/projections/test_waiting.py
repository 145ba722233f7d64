"""Calls that wait for projections leave room for those of other tenants, and for other work."""

import asyncio
from collections.abc import Collection, Mapping
from typing import cast

import pytest

from girih.ids import NO_POSITION, Position, TenantId
from services.projections.control.store import ControlStore
from services.projections.control.waiting import Waits
from services.projections.domain import Checkpoint, Generation, ProjectionKey, ProjectionState
from services.projections.errors import ProjectionWaitsFull
from services.projections.postgres.control import PostgresControl
from services.projections.postgres.store import PostgresProjectionStore


class Kept:
    """Where projections are, and how often that was looked at."""

    def __init__(self, *, position: int = 0) -> None:
        self.position = Position(position)
        self.look_count = 0
        self.looking_count = 0
        self.looking_count_max = 0

    async def states_of(
        self, keys: Collection[ProjectionKey]
    ) -> Mapping[ProjectionKey, ProjectionState]:
        self.look_count += 1
        self.looking_count += 1
        self.looking_count_max = max(self.looking_count, self.looking_count_max)
        await asyncio.sleep(0.001)
        self.looking_count -= 1
        return {key: at(key, self.position) for key in keys}


def at(key: ProjectionKey, position: Position) -> ProjectionState:
    """A projection that is at a position."""
    checkpoint = Checkpoint(key=key, generation=1, fence=1, version="1", position=position)
    return ProjectionState(
        key=key,
        active=Generation(
            checkpoint=checkpoint,
            event_count=position,
            moved_at=None,
            stop=None,
            problem="",
            failed_position=None,
            attempt_count=0,
            quarantined_count=0,
        ),
        building=None,
        rebuild_cause=None,
        is_paused=False,
        poison_policy=None,
        replaced_policy=None,
    )


def waits(kept: Kept, count_max: int) -> Waits:
    """Of a process that runs none of them."""
    return Waits(cast("ControlStore", kept), dict, count_max)


def shop_of(tenant: str) -> ProjectionKey:
    return ProjectionKey(TenantId(tenant), "shop")


async def test_a_tenant_that_waits_as_often_as_it_may_keeps_no_other_from_it() -> None:
    waiting_calls = waits(Kept(), 8)

    async def wait(tenant: str, timeout_s: float) -> Position:
        return await waiting_calls.until(shop_of(tenant), Position(1), timeout_s)

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait("busy", 600.0)) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(ProjectionWaitsFull):
            await wait("busy", 600.0)
        assert await wait("other", 0.01) == 0
        for task in waiting:
            task.cancel()

    assert await wait("busy", 0.01) == 0


async def test_a_wait_for_what_is_there_is_answered_however_many_wait() -> None:
    waiting_calls = waits(Kept(position=7), 4)

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(waiting_calls.until(shop_of("busy"), Position(8), 600.0))
        await asyncio.sleep(0.1)
        reached = await waiting_calls.until(shop_of("busy"), Position(7), 600.0)
        waiting.cancel()

    assert reached == 7


async def test_all_who_wait_look_together() -> None:
    kept = Kept()
    waiting_calls = waits(kept, 1_000)

    async with asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(waiting_calls.until(shop_of(f"tenant-{n}"), Position(1), 600.0))
            for n in range(200)
        ]
        await asyncio.sleep(1.2)
        kept.position = Position(1)

    assert [task.result() for task in waiting] == [1] * 200
    assert kept.looking_count_max == 1
    # Each alone would have looked ten times.
    assert kept.look_count < 100


async def test_one_look_is_at_the_projections_of_several_tenants(
    store: PostgresProjectionStore,
) -> None:
    begun = [shop_of("one"), shop_of("other")]
    for fence, key in enumerate(begun, start=1):
        await store.begin(key, "1", fence)

    state_of = await PostgresControl(store).states_of([*begun, shop_of("third")])

    assert {key: state.active.checkpoint.fence for key, state in state_of.items()} == {
        begun[0]: 1,
        begun[1]: 2,
    }
    assert state_of[begun[0]].active.checkpoint.position == NO_POSITION
