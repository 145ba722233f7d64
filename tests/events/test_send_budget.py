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
    ByteSemaphore,
    SendBudget,
)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_room_is_given_in_the_order_of_asking() -> None:
    room = ByteSemaphore(10)
    await room.take(8)
    got: list[str] = []

    async def take(name: str, byte_count: int) -> None:
        await room.take(byte_count)
        got.append(name)

    asking = [asyncio.create_task(take(*one)) for one in (("large", 9), ("small", 1))]
    await turns()
    assert got == [], "the small one fits, and does not overtake"
    room.give(8)
    await asyncio.gather(*asking)
    assert got == ["large", "small"]
    assert not room.has(1)


async def test_who_leaves_while_waiting_takes_nothing_along() -> None:
    room = ByteSemaphore(10)
    await room.take(10)
    waiting = [asyncio.create_task(room.take(6)) for _ in range(3)]
    await turns()

    waiting[0].cancel()
    room.give(10)
    waiting[1].cancel()
    await asyncio.wait(waiting)

    assert waiting[2].exception() is None if not waiting[2].cancelled() else False
    room.give(6)
    assert room.has(10)


async def test_small_responses_do_not_wait() -> None:
    of_log = SendBudget(ByteSemaphore(0))

    async with asyncio.timeout(1), of_log.reserved(SMALL_BYTES):
        pass


async def test_a_log_cannot_take_the_room_of_all_others() -> None:
    total = ByteSemaphore(TOTAL_BYTES_MAX)
    one, other = SendBudget(total), SendBudget(total)
    async with AsyncExitStack() as stack:
        while one.has_capacity(LOG_BYTES_MAX // 4):
            await stack.enter_async_context(one.reserved(LOG_BYTES_MAX // 4))

        assert other.has_capacity(LOG_BYTES_MAX)
    assert total.has(TOTAL_BYTES_MAX)


async def test_what_a_response_does_not_need_is_given_back_at_once() -> None:
    total = ByteSemaphore(TOTAL_BYTES_MAX)
    of_log = SendBudget(total)

    async with of_log.reserved(LOG_BYTES_MAX) as reserved:
        reserved.keep(1_000)
        assert of_log.has_capacity(LOG_BYTES_MAX - 1_000)
        assert not of_log.has_capacity(LOG_BYTES_MAX)

    assert total.has(TOTAL_BYTES_MAX)


async def test_who_waits_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_budget, "WAIT_S", 0.01)
    total = ByteSemaphore(TOTAL_BYTES_MAX)
    of_log = SendBudget(total)

    async with of_log.reserved(LOG_BYTES_MAX):
        with pytest.raises(FollowersBusy):
            await of_log.reserved(LOG_BYTES_MAX).__aenter__()

    assert of_log.has_capacity(LOG_BYTES_MAX)
    assert total.has(TOTAL_BYTES_MAX)
