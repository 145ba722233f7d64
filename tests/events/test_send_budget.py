"""Large responses wait for room in turns of tenants, and no room is lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from girih.ids import TenantId
from services.events.errors import ReadersBusy
from services.events.reading import send_budget
from services.events.reading.send_budget import SMALL_BYTES, SendBudget

ALL = 64 * 2**20
PART = ALL // 16


async def test_small_responses_do_not_wait() -> None:
    budget = SendBudget(1)

    async with asyncio.timeout(60), budget.reserved(TenantId("one"), SMALL_BYTES):
        assert budget.bytes_held == 0


async def test_a_tenant_cannot_take_the_room_of_all_others() -> None:
    budget = SendBudget(ALL)
    async with AsyncExitStack() as stack:
        while budget.has_capacity(TenantId("one"), PART):
            await stack.enter_async_context(budget.reserved(TenantId("one"), PART))

        assert budget.bytes_held == ALL // 2, "each counts twice"
        assert budget.has_capacity(TenantId("other"), PART)
    assert budget.bytes_held == 0


async def test_what_a_response_does_not_need_is_given_back_at_once() -> None:
    budget = SendBudget(ALL)

    async with budget.reserved(TenantId("one"), ALL // 4) as reserved:
        reserved.keep(1_000)

        assert budget.bytes_held == 2_000
    assert budget.bytes_held == 0


async def test_who_waits_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_budget, "WAIT_S", 0.01)
    budget = SendBudget(ALL)

    async with budget.reserved(TenantId("one"), ALL // 2):
        with pytest.raises(ReadersBusy):
            await budget.reserved(TenantId("one"), PART).__aenter__()

    assert budget.bytes_held == 0


async def test_who_leaves_while_waiting_holds_nothing() -> None:
    budget = SendBudget(ALL)
    async with budget.reserved(TenantId("one"), ALL):
        leaving = asyncio.ensure_future(budget.reserved(TenantId("one"), PART).__aenter__())
        await asyncio.sleep(0)

        leaving.cancel()
        await asyncio.wait([leaving])

        assert budget.bytes_held == ALL
    assert budget.bytes_held == 0
