"""Who is lent what, and when."""

import asyncio
from collections import Counter

import pytest

from services.plumbing.budget import Budget


class Borrowers:
    """Ask a budget in the order given, hold what they get for a step, and note who got it."""

    def __init__(self, budget: Budget) -> None:
        self.served: list[str] = []
        self._budget = budget
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, owner: str, amount: int = 1) -> asyncio.Task[None]:
        task = asyncio.create_task(self._borrow(owner, amount))
        self._tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def done(self) -> str:
        await asyncio.gather(*self._tasks)
        return "".join(self.served)

    async def _borrow(self, owner: str, amount: int) -> None:
        async with self._budget.borrowed(amount, owner):
            self.served.append(owner)
            await asyncio.sleep(0)


async def served(budget: Budget, asking: str) -> str:
    """In which order owners are served that ask, by a name of one letter, while all is lent."""
    lent = await budget.take(budget.most, "first")
    borrowers = Borrowers(budget)
    for owner in asking:
        await borrowers.ask(owner)
    budget.give_back(lent, "first")
    return await borrowers.done()


async def test_owners_take_turns_whoever_asks_more() -> None:
    assert await served(Budget(1, share=1), "aaaaabbbc") == "abcababaa"


async def test_of_one_owner_the_lowest_rank_comes_first_and_who_asked_first_of_one_rank() -> None:
    budget = Budget(1, share=1)
    await budget.take(1, "x")
    granted: list[str] = []

    async def ask(name: str, rank: float) -> None:
        await budget.take(1, "a", rank)
        granted.append(name)
        budget.give_back(1, "a")

    async with asyncio.TaskGroup() as asking:
        for name, rank in (("large", 9.0), ("first", 5.0), ("second", 5.0), ("small", 1.0)):
            asking.create_task(ask(name, rank))
            await asyncio.sleep(0)
        budget.give_back(1, "x")

    assert granted == ["small", "first", "second", "large"]


async def test_an_owner_that_asks_late_comes_before_the_rest_of_a_long_line() -> None:
    budget = Budget(2, share=1)
    borrowers = Borrowers(budget)
    held = [await budget.take(1, owner) for owner in "xy"]
    for owner in "a" * 50 + "b":
        await borrowers.ask(owner)
    for amount, owner in zip(held, "xy", strict=True):
        budget.give_back(amount, owner)

    assert (await borrowers.done()).index("b") < 2


async def test_what_is_beyond_an_owners_share_is_left_to_others() -> None:
    budget = Budget(10, share=5)
    await budget.take(5, "a")
    waiting = asyncio.create_task(budget.take(1, "a"))
    await asyncio.sleep(0)

    assert await budget.take(5, "b") == 5
    assert not waiting.done()
    budget.give_back(1, "a")
    assert await waiting == 1


async def test_a_large_turn_is_not_overtaken_for_ever_by_small_ones_of_others() -> None:
    budget = Budget(10, share=5)
    held = await budget.take(4, "a")
    large = asyncio.create_task(budget.take(8, "b"))
    small = asyncio.create_task(budget.take(1, "c"))
    await asyncio.sleep(0)

    assert not large.done()
    assert not small.done()
    budget.give_back(held, "a")
    assert (await large, await small) == (8, 1)


async def test_what_is_there_within_the_share_can_be_taken_now() -> None:
    budget = Budget(10, share=5)
    await budget.take(4, "a")

    assert budget.can_take_now(1, "a")
    assert budget.can_take_now(6, "b")
    assert Budget(10, share=5).can_take_now(1_000, "a")


async def test_what_is_not_there_cannot_be_taken_now() -> None:
    budget = Budget(10, share=5)
    await budget.take(4, "a")

    assert not budget.can_take_now(7, "b")


async def test_what_is_beyond_the_share_cannot_be_taken_now() -> None:
    budget = Budget(10, share=5)
    await budget.take(4, "a")

    assert not budget.can_take_now(2, "a")


async def test_what_others_wait_for_cannot_be_taken_now() -> None:
    budget = Budget(10, share=5)
    await budget.take(4, "a")
    waiting = asyncio.create_task(budget.take(8, "b"))
    await asyncio.sleep(0)

    assert not budget.can_take_now(1, "c")
    waiting.cancel()


async def test_more_than_there_is_is_lent_as_all_there_is() -> None:
    budget = Budget(10, share=5)

    assert await budget.take(1_000, "a") == 10


@pytest.mark.parametrize("gone", range(6))
async def test_who_leaves_the_line_holds_nobody_up_and_keeps_nothing(gone: int) -> None:
    budget = Budget(1, share=1)
    await budget.take(1, "first")
    borrowers = Borrowers(budget)
    tasks = [await borrowers.ask(owner) for owner in "aabbcc"]

    tasks[gone].cancel()
    budget.give_back(1, "first")
    await asyncio.gather(*tasks, return_exceptions=True)

    assert Counter(borrowers.served) == Counter("aabbcc") - Counter("aabbcc"[gone])
    assert (budget.lent, budget.waiting) == (0, 0)


async def test_an_owner_that_gives_up_and_asks_again_holds_nobody_up_for_ever() -> None:
    budget = Budget(10, share=10)
    await budget.take(4, "slow")
    asking = [asyncio.create_task(budget.take(10, "greedy")) for _ in range(2)]
    await asyncio.sleep(0)
    modest = asyncio.create_task(budget.take(5, "modest"))
    await asyncio.sleep(0)

    asking[0].cancel()
    await asyncio.wait([asking[0]])
    await asyncio.sleep(0)

    assert modest.done()
    asking[1].cancel()
    await asyncio.wait([asking[1]])


async def test_what_is_lent_to_one_who_left_at_that_moment_returns() -> None:
    budget = Budget(1, share=1)
    await budget.take(1, "a")
    leaving = asyncio.create_task(budget.take(1, "b"))
    await asyncio.sleep(0)

    budget.give_back(1, "a")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert budget.lent == 0


def taken(budget: Budget, owner: str) -> int:
    """Take by ones until none are given."""
    count = 0
    while budget.take_now(1, owner) is not None:
        count += 1
    return count


async def test_without_a_share_an_owner_gets_as_much_as_stays_free_for_the_others() -> None:
    budget = Budget(120)

    assert [taken(budget, owner) for owner in "abc"] == [60, 30, 15]
    assert budget.take_now(15, "d") == 15, "who holds nothing gets what is free"


async def test_without_a_share_who_waits_for_more_does_not_hold_up_others() -> None:
    budget = Budget(100)
    budget.take_now(50, "greedy")
    waiting = asyncio.create_task(budget.take(10, "greedy"))
    await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await budget.take(10, "modest")

    assert not waiting.done()
    budget.give_back(50, "greedy")
    await waiting
    assert budget.lent == 20
