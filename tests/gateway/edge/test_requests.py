"""Raw requests, well-formed and not: each has the answer that the RFCs demand."""

import asyncio

import httpx
import pytest

from tests.gateway.edge.client import connected
from tests.gateway.edge.corpus import Case, cases
from tests.gateway.sample import SampleService


def _marks(case: Case) -> tuple[pytest.MarkDecorator, ...]:
    """The root leads to the documentation, where there is one."""
    return (pytest.mark.documented,) if 307 in case.statuses else ()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=_marks(case), id=case.name) for case in cases()]
)
async def test_is_answered_as_the_rfcs_demand(
    case: Case, online: httpx.AsyncClient, service: SampleService
) -> None:
    async with asyncio.timeout(15), connected(online.base_url) as client:
        answers = await client.send(case, service.authority.token())
        after = await client.probe() if case.kept else None

    assert [answer.status for answer in answers] == case.statuses
    assert (after.status if after else None) == (200 if case.kept else None)
    assert service.texts == list(case.bodies)


async def test_every_answer_has_a_date_an_id_and_a_length(
    online: httpx.AsyncClient, service: SampleService
) -> None:
    for case in cases():
        async with asyncio.timeout(15), connected(online.base_url) as client:
            for answer in await client.send(case, service.authority.token()):
                if answer.status >= 200 and answer.status != 204:
                    assert answer.header("date"), case
                    assert answer.header("x-correlation-id"), case
                    assert answer.header("content-length"), case
