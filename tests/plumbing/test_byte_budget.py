"""Bytes are given out in the order of asking, or by turns, and none are lost."""

import asyncio
import contextlib

import pytest

from services.plumbing.byte_budget import ByteBudget, FairBudget


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_bytes_are_given_in_the_order_of_asking() -> None:
    budget = ByteBudget(10)
    await budget.acquire(8)
    got: list[str] = []

    async def take(name: str, byte_count: int) -> None:
        await budget.acquire(byte_count)
        got.append(name)

    asking = [asyncio.create_task(take(*one)) for one in (("large", 9), ("small", 1))]
    await turns()
    assert got == [], "the small one fits, and does not overtake"
    budget.release(8)
    await asyncio.gather(*asking)
    assert got == ["large", "small"]
    assert not budget.has(1)


async def test_who_leaves_while_waiting_takes_nothing_along() -> None:
    budget = ByteBudget(10)
    await budget.acquire(10)
    waiting = [asyncio.create_task(budget.acquire(6)) for _ in range(3)]
    await turns()

    waiting[0].cancel()
    budget.release(10)
    waiting[1].cancel()
    await asyncio.wait(waiting)

    assert waiting[2].exception() is None if not waiting[2].cancelled() else False
    budget.release(6)
    assert budget.has(10)


async def test_what_cannot_be_had_now_is_not_taken() -> None:
    budget = ByteBudget(10)

    assert budget.try_acquire(6)
    assert not budget.try_acquire(5)
    assert budget.bytes_held == 6
    assert budget.try_acquire(4)


async def test_who_does_not_wait_overtakes_nobody_who_does() -> None:
    budget = ByteBudget(10)
    await budget.acquire(5)
    waiting = asyncio.create_task(budget.acquire(6))
    await turns()

    assert not budget.try_acquire(1)
    budget.release(5)
    await waiting
    assert budget.try_acquire(4)


async def test_who_waits_no_longer_than_a_deadline_takes_nothing() -> None:
    budget = ByteBudget(10)
    await budget.acquire(10)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await budget.acquire(1)

    budget.release(10)
    assert (budget.bytes_held, budget.has(10)) == (0, True)


async def test_who_is_cancelled_in_the_moment_of_a_release_is_told_so() -> None:
    budget = ByteBudget(10)
    await budget.acquire(10)
    waiting = asyncio.create_task(budget.acquire(5))
    await turns()

    waiting.cancel()
    budget.release(10)

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.has(10)


def taken(budget: FairBudget, owner: str) -> int:
    """Take by ones until none are given."""
    count = 0
    while budget.try_acquire(owner, 1):
        count += 1
    return count


async def test_an_owner_gets_as_much_as_stays_free_for_the_others() -> None:
    budget = FairBudget(120)

    shares = [taken(budget, owner) for owner in "abc"]

    assert shares == [60, 30, 15]
    assert budget.try_acquire("d", 15), "who holds nothing gets what is free"


async def test_who_waits_behind_another_owner_is_not_held_up_by_it() -> None:
    budget = FairBudget(100)
    assert budget.try_acquire("greedy", 50)
    waiting = asyncio.create_task(budget.acquire("greedy", 10))
    await turns()

    async with asyncio.timeout(60):
        await budget.acquire("modest", 10)

    assert not waiting.done()
    budget.release("greedy", 50)
    await waiting
    assert budget.bytes_held == 20


async def test_what_one_owner_asks_for_is_given_in_the_order_of_asking() -> None:
    budget = FairBudget(100)
    assert budget.try_acquire("one", 50)
    received: list[str] = []

    async def take(name: str, byte_count: int) -> None:
        await budget.acquire("one", byte_count)
        received.append(name)

    asking = [asyncio.create_task(take(*what)) for what in (("large", 50), ("small", 0))]
    await turns()
    assert received == []

    budget.release("one", 50)
    await asyncio.gather(*asking)
    assert received == ["large", "small"]


async def test_owners_who_wait_take_turns() -> None:
    budget = FairBudget(30)
    assert budget.try_acquire("first", 30)
    received: list[str] = []

    async def take(owner: str) -> None:
        await budget.acquire(owner, 10)
        received.append(owner)
        budget.release(owner, 10)

    asking = [asyncio.create_task(take(owner)) for owner in ("a", "a", "a", "b")]
    await turns()
    budget.release("first", 30)
    await asyncio.gather(*asking)

    assert received[:2] == ["a", "b"]
    assert budget.bytes_held == 0


async def test_an_owner_who_leaves_while_waiting_takes_nothing_along() -> None:
    budget = FairBudget(10)
    assert budget.try_acquire("a", 10)
    waiting = [asyncio.create_task(budget.acquire("b", 6)) for _ in range(3)]
    await turns()

    waiting[0].cancel()
    budget.release("a", 10)
    waiting[1].cancel()
    await asyncio.wait(waiting[:2])
    await waiting[2]

    budget.release("b", 6)
    assert (budget.bytes_held, budget.holds("b")) == (0, 0)
    assert budget.try_acquire("c", 10)
