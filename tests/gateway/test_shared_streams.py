"""Clients that follow the same share one call, and each sees every item once and in order."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from gateway.hubs import ring
from gateway.hubs.ring import Piece, Ring, RingBytes
from tests.gateway.sample import Gateway, SampleService, gateway_before, until

_EVENTS = {"accept": "text/event-stream"}
_FOLLOW = "/v1/count?follow=true"
_MANY = {f"GATEWAY_{whose}STREAM_COUNT_MAX": "1000" for whose in ("", "TENANT_", "USER_")}


class Follower:
    """A client that notes the ids that it was sent."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self.ids: list[int] = []
        self.is_open = False
        self.error = ""
        self._lines = lines
        self._reading: asyncio.Task[None] | None = None

    def read_on(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        async for line in self._lines:
            self.is_open = True
            if match := re.match(r"id: (\d+)", line):
                self.ids.append(int(match[1]))
            if '"error"' in line:
                self.error = line


class Crowd:
    """Clients of one gateway, each on a connection of its own."""

    def __init__(self, gateway: Gateway, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.service = gateway.service
        self.client = client
        self._stack = stack

    async def follow(
        self, query: str = _FOLLOW, *, reads: bool = True, headers: dict[str, str] | None = None
    ) -> Follower:
        own = await self._stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.client.base_url,
                headers=self.client.headers,
                timeout=60,
                trust_env=False,
            )
        )
        stream = own.stream("GET", query, headers=_EVENTS | (headers or {}))
        follower = Follower((await self._stack.enter_async_context(stream)).aiter_lines())
        if reads:
            follower.read_on()
            await until(lambda: follower.is_open)
        self._stack.push_async_callback(follower.stop)
        return follower

    async def settled(self, count: int = 1) -> None:
        """So many calls are left, however many follow."""
        await until(lambda: len(self.service.following) == count)


@pytest.fixture
async def crowd(service: SampleService) -> AsyncIterator[Crowd]:
    async with crowd_before(service) as crowd:
        yield crowd


@asynccontextmanager
async def crowd_before(service: SampleService) -> AsyncIterator[Crowd]:
    async with (
        gateway_before(service, _MANY) as gateway,
        gateway.listening() as client,
        AsyncExitStack() as stack,
    ):
        yield Crowd(gateway, client, stack)


def upto(last: int, first: int = 1) -> list[int]:
    return list(range(first, last + 1))


async def test_all_who_follow_the_same_share_one_call(crowd: Crowd) -> None:
    followers = [await crowd.follow() for _ in range(12)]
    crowd.service.count_on(5)
    await until(lambda: all(one.ids for one in followers))
    await crowd.settled()
    crowd.service.count_on(95)

    await until(lambda: all(len(one.ids) >= 100 for one in followers))
    assert [one.ids for one in followers] == [upto(100)] * 12
    assert len(crowd.service.following) == 1


async def test_who_begins_anywhere_sees_every_item_once_while_it_goes_on(crowd: Crowd) -> None:
    async def count() -> None:
        while crowd.service.live_end < 3_000:
            crowd.service.count_on(7)
            await asyncio.sleep(0.001)

    counting = asyncio.create_task(count())
    followers = []
    for number in range(20):
        seen = min(number * 13, crowd.service.live_end)
        followers.append((seen, await crowd.follow(headers={"last-event-id": str(seen)})))
    await counting

    end = crowd.service.live_end
    await until(lambda: all(one.ids and one.ids[-1] == end for _, one in followers))
    assert all(one.ids == upto(end, seen + 1) for seen, one in followers)
    await crowd.settled()


async def test_they_go_on_by_the_call_of_another_when_theirs_breaks(crowd: Crowd) -> None:
    followers = [await crowd.follow() for _ in range(5)]
    crowd.service.count_on(3)
    await until(lambda: all(one.ids for one in followers))
    await crowd.settled()
    crowd.service.count_on(1)
    await until(lambda: all(len(one.ids) >= 4 for one in followers))
    crowd.service.broken.update(crowd.service.following)
    calls = len(crowd.service.calls)
    crowd.service.count_on(3)

    await until(lambda: all(len(one.ids) >= 7 for one in followers))
    assert [one.ids for one in followers] == [upto(7)] * 5
    assert not any(one.error for one in followers)
    await crowd.settled()
    assert len(crowd.service.calls) > calls


async def test_they_go_on_when_the_one_leaves_whose_call_it_was(crowd: Crowd) -> None:
    async with AsyncExitStack() as leaving:
        first = Crowd.__new__(Crowd)
        first.__dict__ = crowd.__dict__ | {"_stack": leaving}
        early = [await first.follow() for _ in range(3)]
        late = [await crowd.follow() for _ in range(3)]
        crowd.service.count_on(3)
        await until(lambda: all(one.ids for one in [*early, *late]))
        await crowd.settled()
    crowd.service.count_on(4)

    await until(lambda: all(len(one.ids) >= 7 for one in late))
    assert [one.ids for one in late] == [upto(7)] * 3
    await crowd.settled()


async def test_a_call_ends_when_all_have_left(crowd: Crowd) -> None:
    async with AsyncExitStack() as leaving:
        some = Crowd.__new__(Crowd)
        some.__dict__ = crowd.__dict__ | {"_stack": leaving}
        followers = [await some.follow() for _ in range(4)]
        crowd.service.count_on(1)
        await until(lambda: all(one.ids for one in followers))

    await crowd.settled(0)


async def test_who_does_not_read_holds_up_nobody_and_misses_nothing(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "BYTES_MAX", 2**16)
    query = f"{_FOLLOW}&textLength=9000"
    others = [await crowd.follow(query) for _ in range(3)]
    idle = await crowd.follow(query, reads=False)
    crowd.service.count_on(1)
    await until(lambda: all(one.ids for one in others))
    await crowd.settled()
    for _ in range(200):
        crowd.service.count_on(10)
        await until(lambda: all(one.ids[-1] == crowd.service.live_end for one in others))

    idle.read_on()

    await until(lambda: idle.ids and idle.ids[-1] == 2_001)
    assert [one.ids for one in [idle, *others]] == [upto(2_001)] * 4


@pytest.mark.parametrize("other", ["&limit=500", "&textLength=3", "&presentIncarnation=b2"])
async def test_who_asks_for_something_else_has_a_call_of_its_own(crowd: Crowd, other: str) -> None:
    same = [await crowd.follow() for _ in range(3)]
    alone = await crowd.follow(_FOLLOW + other)
    crowd.service.count_on(5)

    await until(lambda: all(len(one.ids) >= 5 for one in [*same, alone]))
    await crowd.settled(2)


async def test_tenants_share_nothing(crowd: Crowd) -> None:
    ours = [await crowd.follow() for _ in range(3)]
    foreign = crowd.service.authority.headers("other")
    theirs = [await crowd.follow(headers=foreign) for _ in range(3)]
    crowd.service.count_on(5)

    await until(lambda: all(len(one.ids) >= 5 for one in [*ours, *theirs]))
    await crowd.settled(2)
    assert {call.tenant for call in crowd.service.calls[-2:]} <= {"acme", "other"}


async def test_each_is_ended_with_its_own_token(crowd: Crowd) -> None:
    short = crowd.service.authority.headers(exp=int(time.time()) + 4)
    ending = await crowd.follow(headers=short)
    others = [await crowd.follow() for _ in range(3)]
    crowd.service.count_on(5)
    await until(lambda: all(one.ids for one in [ending, *others]))

    await until(lambda: ending.error)
    crowd.service.count_on(5)

    assert "TOKEN_EXPIRED" in ending.error
    await until(lambda: all(len(one.ids) >= 10 for one in others))
    assert [one.ids for one in others] == [upto(10)] * 3


def piece(first: int, count: int, byte_count: int = 10) -> Piece:
    ids = list(range(first, first + count))
    texts = [b"%d" % one + b"." * byte_count for one in ids]
    ends = [sum(map(len, texts[: number + 1])) for number in range(count)]
    return Piece(b"".join(texts), ids, ends, "a1")


def test_a_ring_gives_what_is_behind_an_id_also_within_a_piece() -> None:
    held = Ring(1, "", RingBytes(2**20))
    held.add(piece(1, 5, 1))
    held.add(piece(8, 2, 1))

    assert held.take(3) == (b"3.4.5.8.9.", 10)
    assert held.take(6) == (b"8.9.", 10)
    assert held.take(10) == (b"", 10)


def test_a_ring_lets_go_of_what_is_oldest_and_says_so() -> None:
    together = RingBytes(2**30)
    held = Ring(1, "", together)
    for number in range(100):
        held.add(piece(1 + number * 10, 10, 1_000))

    assert together.held <= ring.BYTES_MAX
    assert not held.covers(1, "")
    assert held.covers(held.covered_from, "a1")
    assert not held.covers(held.covered_from, "b2")
    assert not held.covers(held.end + 1, "a1")
