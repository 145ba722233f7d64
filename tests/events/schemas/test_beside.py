"""What is checked beside the service has so much of a core, whenever it gets it."""

import time
from collections.abc import AsyncIterator

import pytest

from girih.ids import TenantId
from services.events.errors import SchemaCheckTooLong, SchemasBusy
from services.events.schemas.beside import Beside

ACME = TenantId("acme")


@pytest.fixture
async def beside() -> AsyncIterator[Beside]:
    one = Beside(work_s=0.2, answer_s=60.0)
    yield one
    await one.close()


async def test_what_waits_longer_than_it_may_work_is_answered(beside: Beside) -> None:
    await beside.run(ACME, time.sleep, 0.5)


async def test_what_works_longer_than_it_may_is_ended_and_the_next_one_is_answered(
    beside: Beside,
) -> None:
    with pytest.raises(SchemaCheckTooLong, match="of a core"):
        await beside.run(ACME, sum, range(10**12))

    assert await beside.run(ACME, sum, [1, 2]) == 3


async def test_what_gets_no_core_is_ended_and_to_be_asked_again() -> None:
    beside = Beside(answer_s=0.1)

    with pytest.raises(SchemasBusy, match="no core"):
        await beside.run(ACME, time.sleep, 3600)

    await beside.close()
