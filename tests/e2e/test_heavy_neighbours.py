"""A tenant that asks for much holds nobody up: the short form of `heavy_neighbours`."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.processes import System

pytestmark = pytest.mark.e2e

_SITES_MAX = 100_000


def _ends(goal: int) -> dict[str, Any]:
    return {"start": {"coordinates": ["0", "0"]}, "goal": {"coordinates": [str(goal)] * 2}}


async def _created(client: httpx.AsyncClient, size: int) -> str:
    response = await client.post("/v1/lattices", json={"dimensions": 2, "size": str(size)})
    return str(response.raise_for_status().json()["latticeId"])


async def test_long_answers_come_whole_while_others_are_served(system: System) -> None:
    heavy, other = (
        httpx.AsyncClient(
            base_url=system.url,
            headers=system.authority.headers(f"tenant-{uuid4().hex[:12]}"),
            timeout=60,
        )
        for _ in range(2)
    )
    async with heavy, other:
        wide, small = await _created(heavy, 10**6), await _created(other, 10)
        asked = {**_ends(10**6 - 1), "sitesMax": _SITES_MAX}

        long = [
            asyncio.create_task(heavy.post(f"/v1/lattices/{wide}:findPath", json=asked))
            for _ in range(8)
        ]
        seen = []
        for _ in range(10):
            seen.append(await other.get("/health"))
            seen.append(await other.post(f"/v1/lattices/{small}:findPath", json=_ends(9)))
        answers = await asyncio.gather(*long)

    assert {response.status_code for response in [*seen, *answers]} == {200}
    for response in answers:
        sites = response.json()["path"]["sites"]
        assert len(sites) == _SITES_MAX
        assert [sites[0], sites[-1]] == [["0", "0"], [str(_SITES_MAX - 1), "0"]]
