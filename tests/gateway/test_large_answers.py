"""Large answers: whole, in turns, and not too many at once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.endpoints.large_answers import LargeAnswers
from gateway.http.errors import HttpError

_MIB = 2**20


async def test_a_large_answer_is_told_whole(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"text": "x" * 20_000, "longNumbers": [str(n) for n in range(20_000)]}
    body["children"] = [{"number": n, "texts": ["a", "b"]} for n in range(3_000)]

    answer = await client.post("/v1/echo", json=body)

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json()
    assert {name: shown[name] for name in ("text", "longNumbers")} == {
        name: body[name] for name in ("text", "longNumbers")
    }
    assert [child["number"] for child in shown["children"]] == list(range(3_000))


def noting(order: list[str], name: str, count: int) -> Iterator[bytes]:
    for _ in range(count):
        order.append(name)
        yield b"x"


async def taken(large: LargeAnswers, tenant: str, slices: Iterator[bytes]) -> int:
    return len([piece async for piece in large.in_turns(tenant, slices)])


async def test_others_have_a_turn_after_every_slice_however_many_answers_are_made() -> None:
    large, order = LargeAnswers(_MIB), list[str]()
    making = [
        asyncio.create_task(taken(large, tenant, noting(order, "slice", 20))) for tenant in "aabbcc"
    ]
    while not all(task.done() for task in making):
        order.append("other")
        await asyncio.sleep(0)

    assert order.count("slice") == 120
    assert "slice slice" not in " ".join(order)


async def test_tenants_take_turns_whoever_has_more_answers() -> None:
    large, order = LargeAnswers(_MIB), list[str]()
    async with asyncio.TaskGroup() as group:
        for tenant in "aaaaab":
            group.create_task(taken(large, tenant, noting(order, tenant, 10)))

    last = len(order) - 1 - order[::-1].index("b")
    assert order[:last].count("a") <= 2 * order.count("b")


async def test_a_tenant_leaves_half_of_what_is_held_to_others() -> None:
    large = LargeAnswers(100)
    with large.held("a", 40):
        with pytest.raises(HttpError) as refusal, large.held("a", 20):
            pass
        with large.held("b", 50):
            pass

    assert refusal.value.status == 503
    with large.held("a", 1_000):
        pass
