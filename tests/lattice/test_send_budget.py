"""What the answers that nobody has read yet may hold."""

import time
from contextlib import AsyncExitStack

import pytest

from girih.ids import TenantId
from services.lattice.computing.send_budget import SendBudget
from services.lattice.errors import ComputeBusy
from services.plumbing.correlation import Call, bind


def call_of(tenant: str) -> Call:
    """A call that has little time left."""
    return Call(correlation_id="x", tenant=TenantId(tenant), deadline_s=time.monotonic() + 0.1)


async def test_a_tenant_that_reads_slowly_leaves_half_to_others() -> None:
    budget = SendBudget(100)

    with bind(call_of("slow")):
        async with budget.reserved(40):
            with pytest.raises(ComputeBusy) as busy:
                async with budget.reserved(20):
                    pass
            with bind(call_of("other")):
                async with budget.reserved(40):
                    assert budget.lent == 80

    assert busy.value.retry_after_s
    assert budget.lent == 0


async def test_what_was_sent_is_given_back() -> None:
    budget = SendBudget(100)

    async with budget.reserved(40) as reservation:
        reservation.keep(15)

        assert budget.lent == 15
    assert budget.lent == 0


async def test_an_answer_larger_than_all_there_is_has_it_alone() -> None:
    budget = SendBudget(100)

    with bind(call_of("a")):
        async with budget.reserved(1_000):
            assert budget.lent == 88
            with bind(call_of("b")), pytest.raises(ComputeBusy):
                async with budget.reserved(1):
                    pass


async def test_a_small_answer_does_not_wait_for_a_large_one_of_its_tenant() -> None:
    budget = SendBudget(2_560)

    with bind(call_of("a")):
        async with budget.reserved(2_560):
            for _ in range(3):
                async with budget.reserved(20):
                    assert budget.lent == 2_260


async def test_small_answers_are_bounded_too() -> None:
    budget = SendBudget(2_560)

    with bind(call_of("a")):
        async with AsyncExitStack() as held:
            for _ in range(8):
                await held.enter_async_context(budget.reserved(20))
            with pytest.raises(ComputeBusy):
                async with budget.reserved(20):
                    pass
    assert budget.lent == 0
