"""What callers send is read when there is room for it, and what is too large has a name."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import pytest
from google.api.httpbody_pb2 import HttpBody

from services.plumbing.grpc import requests
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.grpc.requests import (
    INLINE_BYTES_MAX,
    OVERSIZE_BYTES,
    CallIdle,
    MessageTooLarge,
    RequestMemory,
    Requests,
    Reservation,
)
from services.plumbing.settings import MESSAGE_BYTES, ServerSettings
from tests.authority import Authority
from tests.plumbing.conftest import Log, Served, serving, until
from tests.plumbing.knots import DOMAIN, SHORT_BYTES_MAX, Context, KnotClient, Knots, Text

MakeSettings = Callable[..., ServerSettings]

LARGE = 8 * 2**20


class Holding(Knots):
    """Waits with whatever is large."""

    async def _do(self, what: str, context: Context) -> str:
        return await super()._do("wait" if len(what) > LARGE // 2 else what, context)


class Measuring(Knots):
    """Answers how long the text is."""

    async def _do(self, what: str, context: Context) -> str:
        return str(len(what))


@pytest.fixture
async def full(make_settings: MakeSettings, log: Log) -> AsyncIterator[Served]:
    """A server with the least memory there is, of which one tenant holds all that it may."""
    async with serving(make_settings(requests_mib=32), Holding()) as served:
        holding = served.client.start("Unary", "x" * LARGE)
        await until(lambda: bool(served.knots.seen.calls))
        yield served
        holding.cancel()


def other_client(served: Served, settings: ServerSettings) -> KnotClient:
    token = Authority.load(settings.trusted_keys.parent).token("other", aud=[DOMAIN])
    return KnotClient(served.channel, token)


async def refusal_of(client: KnotClient, kind: str, *values: str, **options: Any) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.ask(kind, *values, **options)
    return from_rpc_error(caught.value)


async def test_a_call_for_which_no_room_becomes_free_is_told_to_come_back(
    full: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "WAIT_S", 0.05)

    refused = await refusal_of(full.client, "Unary", "ok")

    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_FULL")
    assert refused.retry_after_s


async def test_what_one_tenant_holds_leaves_room_for_another(
    full: Served, settings: ServerSettings
) -> None:
    answer = await other_client(full, settings).ask("Unary", "ok")

    assert answer.values == ["ok"]


async def test_a_call_that_waits_is_served_when_there_is_room(
    make_settings: MakeSettings, log: Log
) -> None:
    async with serving(make_settings(requests_mib=32), Holding()) as served:
        holding = served.client.start("Unary", "x" * LARGE)
        await until(lambda: bool(served.knots.seen.calls))
        waiting = served.client.start("Unary", "ok")
        await until(lambda: served.server.memory.is_waited_for)

        holding.cancel()

        assert (await waiting).value == "ok"


@pytest.mark.parametrize("kind", ["Unary", "ServerStream", "BidiStream"])
async def test_the_room_of_a_served_message_is_free_again(
    make_settings: MakeSettings, log: Log, kind: str
) -> None:
    async with serving(make_settings(requests_mib=32), Measuring()) as served:
        for _ in range(5):
            assert await served.client.ask(kind, "x" * LARGE)


async def test_a_stream_holds_room_for_one_message_at_a_time(
    make_settings: MakeSettings, log: Log
) -> None:
    async with serving(make_settings(requests_mib=32), Measuring()) as served:
        answer = await served.client.ask("ClientStream", *["x" * LARGE] * 5)

    assert answer.values == [",".join([str(LARGE)] * 5)]


async def test_a_stream_that_sends_nothing_gives_way(
    make_settings: MakeSettings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "IDLE_S", 0.0)
    async with serving(make_settings(requests_mib=32), Knots()) as served:
        idle = served.client.start("BidiStream")
        await idle.initial_metadata()

        answer = await served.client.ask("Unary", "ok")

        assert answer.values == ["ok"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await idle.read()
    ended = from_rpc_error(caught.value)
    assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "CALL_IDLE")


async def test_a_stream_gives_way_that_falls_silent_after_a_call_began_to_wait(
    make_settings: MakeSettings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "IDLE_S", 3_600.0)
    async with serving(make_settings(requests_mib=32), Knots()) as served:
        idle = served.client.start("BidiStream")
        await idle.initial_metadata()
        waiting = served.client.start("Unary", "ok")
        await until(lambda: served.server.memory.is_waited_for)

        for awaited in served.server.memory._awaited:
            object.__setattr__(awaited, "silent_s_max", 0.0)

        assert (await waiting).value == "ok"
        idle.cancel()


async def test_streams_give_way_before_calls_whose_only_message_is_under_way() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    never = asyncio.get_running_loop().create_future
    largest = Reservation("a", LARGE + OVERSIZE_BYTES)
    unary = asyncio.ensure_future(memory.awaited(never(), largest, -2.0))
    stream = asyncio.ensure_future(memory.awaited(never(), largest, -3.0))
    await memory.reserve("a", LARGE)
    waiting = asyncio.ensure_future(memory.reserve("a", LARGE))

    ended, _ = await asyncio.wait([unary, stream], return_when=asyncio.FIRST_COMPLETED)

    assert isinstance(stream.exception(), CallIdle)
    assert ended == {stream}
    unary.cancel()
    waiting.cancel()
    await asyncio.wait([unary, waiting])


async def test_the_first_message_of_a_call_comes_before_later_ones_of_streams() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    held = await memory.reserve("a", LARGE)
    later = asyncio.ensure_future(memory.reserve("a", LARGE, is_first=False))
    await until(lambda: memory.is_waited_for)
    first = asyncio.ensure_future(memory.reserve("a", LARGE))
    await asyncio.sleep(0)

    memory.shrink(held, 0)

    done, _ = await asyncio.wait([later, first], return_when=asyncio.FIRST_COMPLETED)
    assert done == {first}
    later.cancel()
    await asyncio.wait([later])


async def test_a_small_message_holds_no_more_than_its_rpc_takes() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)

    for _ in range(100):
        await memory.reserve("a", 2**16)

    assert memory.bytes_held == 100 * 2**16


async def test_what_does_not_come_in_a_moment_holds_room_for_the_largest() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    message = asyncio.get_running_loop().create_future()
    held = await memory.reserve("a", 2**16)
    awaited = asyncio.ensure_future(memory.awaited(message, held, 10.0))

    await until(lambda: memory.bytes_held > 2**16)

    assert memory.bytes_held == held.byte_count == LARGE + OVERSIZE_BYTES
    message.set_result(b"at last")
    assert await awaited == b"at last"
    memory.shrink(held, 0)
    assert memory.bytes_held == 0


async def test_what_does_not_come_in_a_moment_gives_way_where_there_is_no_room() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    await memory.reserve("a", LARGE)
    held = await memory.reserve("a", 2**16)
    never = asyncio.get_running_loop().create_future()

    with pytest.raises(CallIdle):
        await memory.awaited(never, held, 10.0)

    assert held.byte_count == 2**16


async def test_who_had_no_room_for_what_came_late_has_it_reserved_from_then_on() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    holds = await memory.reserve("a", LARGE)
    late = await memory.reserve("a", 2**16)
    with pytest.raises(CallIdle):
        await memory.awaited(asyncio.get_running_loop().create_future(), late, 10.0)

    memory.shrink(holds, 0)

    assert (await memory.reserve("a", 2**16)).byte_count == LARGE + OVERSIZE_BYTES
    assert (await memory.reserve("other", 2**16)).byte_count == 2**16


async def test_who_sent_more_than_an_rpc_takes_has_room_for_it_reserved_from_then_on() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    sends: Any = Sends(b"x" * (2**16 + 1))

    with pytest.raises(MessageTooLarge):
        await Requests(sends, memory, "a", bytes.decode, 2**16).only()

    assert (await memory.reserve("a", 2**16)).byte_count == LARGE + OVERSIZE_BYTES


async def test_a_message_that_is_there_is_read_although_the_loop_was_held_up() -> None:
    memory = RequestMemory(32 * 2**20, LARGE)
    await memory.reserve("a", LARGE)
    held = await memory.reserve("a", 2**16)
    message = asyncio.get_running_loop().create_future()
    awaited = asyncio.ensure_future(memory.awaited(message, held, 10.0))
    await until(lambda: bool(memory._unbounded))

    (there,) = memory._unbounded
    object.__setattr__(there, "since_s", there.since_s - 10.0)
    memory._extend()
    message.set_result(b"here")

    assert await awaited == b"here"


async def test_an_rpc_takes_what_its_contract_says(served: Served) -> None:
    short = "x" * (SHORT_BYTES_MAX - 100)
    assert (await served.client.ask("Short", short)).values == [short]
    calls = len(served.knots.seen.calls)

    refused = await refusal_of(served.client, "Short", "x" * (SHORT_BYTES_MAX + 1))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason == "MESSAGE_TOO_LARGE"
    assert refused.metadata["byte_count_max"] == str(SHORT_BYTES_MAX)
    assert len(served.knots.seen.calls) == calls


async def test_a_stream_that_sends_nothing_stays_while_there_is_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "IDLE_S", 0.0)
    idle = served.client.start("BidiStream")
    await idle.initial_metadata()

    await served.client.ask("Unary", "ok")

    await idle.write(Text(value="still here").SerializeToString())
    assert (await idle.read()).value == "still here"
    idle.cancel()


@pytest.mark.parametrize("kind", ["Unary", "ServerStream", "ClientStream", "BidiStream"])
async def test_a_message_over_the_limit_is_refused_by_name(
    settings: ServerSettings, log: Log, kind: str
) -> None:
    async with serving(settings, Measuring()) as served:
        assert await served.client.ask(kind, "x" * (MESSAGE_BYTES - 100))

        refused = await refusal_of(served.client, kind, "x" * (MESSAGE_BYTES + 100))

    assert (refused.code, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "MESSAGE_TOO_LARGE",
    )
    assert refused.metadata["byte_count_max"] == str(MESSAGE_BYTES)


async def test_a_message_far_over_the_limit_is_refused_by_grpc(served: Served) -> None:
    refused = await refusal_of(served.client, "Unary", "x" * (MESSAGE_BYTES + OVERSIZE_BYTES + 100))

    assert (refused.code, refused.domain) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert refused.reason == "MESSAGE_TOO_LARGE", "which we make of it"
    assert refused.message.startswith("SERVER: Received message larger than max")


async def test_a_call_without_a_message_is_refused(served: Served) -> None:
    call: Any = served.channel.stream_unary(f"/{served.client.service}/Unary")(
        iter(()), metadata=served.client.metadata
    )

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call

    assert from_rpc_error(caught.value).reason == "INVALID_INPUT"


class Sends:
    """A caller that sends one message."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    async def read(self) -> bytes:
        return self._message


_PIECE = HttpBody(content_type="application/octet-stream", data=bytes(2**18))


@pytest.mark.parametrize(
    ("byte_count", "is_beside"),
    [(_PIECE.ByteSize(), False), (INLINE_BYTES_MAX, False), (INLINE_BYTES_MAX + 1, True)],
    ids=["piece-of-an-array", "largest", "larger"],
)
async def test_what_may_take_long_to_parse_holds_up_no_other_call(
    byte_count: int, is_beside: bool
) -> None:
    def thread_of(_data: bytes) -> threading.Thread:
        return threading.current_thread()

    memory = RequestMemory(2**27, LARGE)
    context: Any = Sends(b"x" * byte_count)
    only, each, several = (Requests(context, memory, "a", thread_of, LARGE) for _ in range(3))

    async with aclosing(several.unsettled()) as unsettled:
        threads = {await only.only(), await anext(each), await anext(unsettled)}

    assert (threading.current_thread() not in threads) == is_beside
