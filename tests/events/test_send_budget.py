"""Large responses wait for room in the order of asking, and no room is lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.events.errors import FollowersBusy
from services.events.reading import send_budget
from services.events.reading.send_budget import (
    LOG_BYTES_MAX,
    SMALL_BYTES,
    TOTAL_BYTES_MAX,
    SendBudget,
)
from services.plumbing.byte_budget import ByteBudget


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_small_responses_do_not_wait() -> None:
    of_log = SendBudget(ByteBudget(0))

    async with asyncio.timeout(60), of_log.reserved(SMALL_BYTES):
        pass


async def test_a_log_cannot_take_the_room_of_all_others() -> None:
    total = ByteBudget(TOTAL_BYTES_MAX)
    one, other = SendBudget(total), SendBudget(total)
    async with AsyncExitStack() as stack:
        while one.has_capacity(LOG_BYTES_MAX // 4):
            await stack.enter_async_context(one.reserved(LOG_BYTES_MAX // 4))

        assert other.has_capacity(LOG_BYTES_MAX)
    assert total.has(TOTAL_BYTES_MAX)


async def test_what_a_response_does_not_need_is_given_back_at_once() -> None:
    total = ByteBudget(TOTAL_BYTES_MAX)
    of_log = SendBudget(total)

    async with of_log.reserved(LOG_BYTES_MAX) as reserved:
        reserved.keep(1_000)
        assert of_log.has_capacity(LOG_BYTES_MAX - 1_000)
        assert not of_log.has_capacity(LOG_BYTES_MAX)

    assert total.has(TOTAL_BYTES_MAX)


async def test_who_waits_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_budget, "WAIT_S", 0.01)
    total = ByteBudget(TOTAL_BYTES_MAX)
    of_log = SendBudget(total)

    async with of_log.reserved(LOG_BYTES_MAX):
        with pytest.raises(FollowersBusy):
            await of_log.reserved(LOG_BYTES_MAX).__aenter__()

    assert of_log.has_capacity(LOG_BYTES_MAX)
    assert total.has(TOTAL_BYTES_MAX)


async def test_who_leaves_while_waiting_for_all_gives_back_what_it_had_of_the_log() -> None:
    total = ByteBudget(LOG_BYTES_MAX)
    of_log = SendBudget(total)
    await total.acquire(1)
    leaving = asyncio.ensure_future(of_log.reserved(LOG_BYTES_MAX).__aenter__())
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.wait([leaving])

    total.release(1)
    assert of_log.has_capacity(LOG_BYTES_MAX)
