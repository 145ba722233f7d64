"""What consumers of a process have settled is written together, and answered to each."""

import asyncio
from collections.abc import Sequence

import pytest

from girih.ids import Position, TenantId
from services.events.groups.settling import Settlements
from services.events.lanes.group import GroupName, LaneChange
from services.plumbing.errors import Unavailable

TENANT, GROUP = TenantId("t"), GroupName("g")


def change(lane: int, token: int = 1) -> LaneChange:
    return LaneChange(lane, token, Position(7), "i", ())


class Store:
    """Holds each write up until the test lets it go on, and takes those under token 1."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.has_begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.error: Exception | None = None

    async def settle(
        self, _tenant: TenantId, _group: GroupName, changes: Sequence[LaneChange]
    ) -> frozenset[int]:
        self.writes.append([one.lane for one in changes])
        self.has_begun.set()
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        if any(one.lane < 0 for one in changes):
            raise ValueError("a lane below 0")
        return frozenset(one.lane for one in changes if one.token == 1)


async def all_settled(store: Store, *changes: Sequence[LaneChange]) -> Sequence[object]:
    """What each consumer is answered; the first one's write has begun when the others come."""
    settlements = Settlements(store.settle)
    waiting = [asyncio.create_task(settlements.settle(TENANT, GROUP, one)) for one in changes]
    await store.has_begun.wait()
    store.goes_on.set()
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_comes_while_a_write_is_on_its_way_is_written_by_one_statement() -> None:
    store = Store()

    answers = await all_settled(store, [change(0)], [change(1), change(2, token=9)], [change(3)])

    assert answers == [{0}, {1}, {3}]
    assert len(store.writes) < 3
    assert sorted(lane for lanes in store.writes for lane in lanes) == [0, 1, 2, 3]


async def test_two_who_lead_a_lane_are_not_written_together() -> None:
    store = Store()

    answers = await all_settled(store, [change(5)], [change(0, token=9)], [change(0)])

    assert answers == [{5}, set(), {0}]
    assert [lanes.count(0) for lanes in store.writes].count(1) == 2


async def test_what_is_wrong_with_the_changes_of_one_is_no_fault_of_the_others() -> None:
    answers = await all_settled(Store(), [change(5)], [change(-1)], [change(0)])

    assert answers[0] == {5}
    assert isinstance(answers[1], ValueError)
    assert answers[2] == {0}


async def test_all_are_told_that_the_database_is_away() -> None:
    store = Store()
    store.error = Unavailable("away")

    answers = await all_settled(store, [change(0)], [change(1)])

    assert answers == [store.error, store.error]


async def test_one_that_waits_no_more_holds_up_nobody() -> None:
    store = Store()
    settlements = Settlements(store.settle)
    gone = asyncio.create_task(settlements.settle(TENANT, GROUP, [change(0)]))
    await store.has_begun.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    store.goes_on.set()

    assert await settlements.settle(TENANT, GROUP, [change(0)]) == {0}
