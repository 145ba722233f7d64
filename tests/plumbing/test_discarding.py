"""What a client still writes of a stream that is refused is discarded, so that it learns why."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from services.plumbing.grpc import chain, requests
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.grpc.requests import OVERSIZE_BYTES
from services.plumbing.settings import MESSAGE_BYTES, ServerSettings
from tests.plumbing.conftest import Log, MakeSettings, Served, serving, until
from tests.plumbing.knots import Knots, Text

every_stream = pytest.mark.parametrize("kind", ["ClientStream", "BidiStream"])

STRANGER = [("authorization", "Bearer nobody's")]
TEXT = "x" * 20_000
"""More than comes unasked."""


@pytest.fixture
def settings(make_settings: MakeSettings) -> ServerSettings:
    return make_settings(log_format="json", log_level="debug", requests_mib=1_024)


async def reason_of(call: Any, *values: str, ends: bool = False) -> str:
    """What a call is refused for whose client writes all of this whatever it is told, and with
    `ends` says then that it is done."""
    writing = asyncio.create_task(_write(call, values, ends=ends))
    try:
        await (call.read() if hasattr(call, "read") else call)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason or f"{error.code().name}: {error.details()}"
    finally:
        writing.cancel()
    return "nothing"


async def _write(call: Any, values: tuple[str, ...], *, ends: bool) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for value in values:
            await call.write(Text(value=value).SerializeToString())
        if ends:
            await call.done_writing()


async def reasons_of(call: Callable[[], Awaitable[str]], count: int = 50) -> set[str]:
    """Of so many calls, 25 at a time."""
    reasons: set[str] = set()
    for _ in range(count // 25):
        reasons.update(await asyncio.gather(*[call() for _ in range(25)]))
    return reasons


@every_stream
@pytest.mark.parametrize("ends", [True, False])
async def test_who_writes_learns_what_it_is_refused_for(
    served: Served, kind: str, ends: bool
) -> None:
    def strange() -> Awaitable[str]:
        return reason_of(served.client.start(kind, metadata=STRANGER), *[TEXT] * 30, ends=ends)

    def known(first: str) -> Awaitable[str]:
        return reason_of(served.client.start(kind), first, *[TEXT] * 30, ends=ends)

    assert await reasons_of(strange) == {"TOKEN_INVALID"}
    assert await reasons_of(lambda: known("refuse")) == {"KNOTS_UNTIED"}
    assert await reasons_of(lambda: known("crash")) == {"INTERNAL"}


@every_stream
async def test_who_writes_learns_that_the_server_is_full(
    make_settings: MakeSettings, log: Log, kind: str
) -> None:
    settings = make_settings(concurrent_rpc_count_max=1, requests_mib=1_024)
    async with serving(settings, Knots()) as served:
        waiting = served.client.start("Unary", "wait")
        await until(lambda: bool(served.knots.seen.calls))
        full = await reasons_of(lambda: reason_of(served.client.start(kind), *[TEXT] * 30), 25)

        assert full == {"SERVER_FULL"}
        waiting.cancel()


async def test_who_talks_learns_that_its_time_is_over(
    make_settings: MakeSettings, log: Log
) -> None:
    """The call ends while a message is awaited, and while others are on their way."""
    settings = make_settings(stream_timeout_s=0.2, requests_mib=1_024)
    async with serving(settings, Knots()) as served:
        late = await reasons_of(lambda: _talked(served.client.start("BidiStream")), 25)

        assert late == {"DEADLINE_EXCEEDED"}


async def _talked(call: Any) -> str:
    """What ends a call of which some messages are without an answer, at most, as in our client."""
    free = asyncio.Semaphore(16)

    async def write() -> None:
        while True:
            await free.acquire()
            await _write(call, (TEXT,), ends=False)

    writing = asyncio.create_task(write())
    try:
        while await call.read() is not grpc.aio.EOF:
            free.release()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason or f"{error.code().name}: {error.details()}"
    finally:
        writing.cancel()
    return "nothing"


@every_stream
async def test_who_never_stops_is_refused_all_the_same(
    served: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "DISCARD_BYTES_MAX", 2**20)
    call = served.client.start(kind, metadata=STRANGER)

    # It writes for some seconds, or until the call ends.
    reason = await asyncio.wait_for(reason_of(call, *[TEXT] * 20_000), 60)

    assert reason in {"TOKEN_INVALID", "INTERNAL: Internal error from Core"}
    await until(lambda: served.server.memory.bytes_held == 0)


async def test_what_strangers_write_is_not_read_into_messages(served: Served) -> None:
    await reason_of(served.client.start("ClientStream", metadata=STRANGER), *[TEXT] * 30, ends=True)

    labels = {"grpc_service": "girih.test.v1.KnotService", "grpc_type": "client_stream"}
    labels["grpc_method"] = "ClientStream"
    received = served.server.registry.get_sample_value("grpc_server_msg_received_total", labels)
    assert not received


async def test_a_silent_stream_holds_room_for_one_message_and_leaves_it_when_its_client_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SILENCE_S", 60.0)
    monkeypatch.setattr(requests, "DISCARD_S_MAX", 60.0)
    memory = served.server.memory

    call = served.client.start("BidiStream", metadata=STRANGER)
    await until(lambda: memory.bytes_held > 0)
    held = memory.bytes_held
    call.cancel()

    assert held == MESSAGE_BYTES + OVERSIZE_BYTES
    await until(lambda: memory.bytes_held == 0)


async def test_streams_beyond_so_many_are_refused_at_once(
    settings: ServerSettings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "_DISCARDING_MAX", 1)
    monkeypatch.setattr(requests, "SILENCE_S", 60.0)
    monkeypatch.setattr(requests, "DISCARD_S_MAX", 60.0)
    async with serving(settings, Knots()) as served:
        first = served.client.start("BidiStream", metadata=STRANGER)
        await until(lambda: served.server.memory.bytes_held > 0)

        reason = await asyncio.wait_for(
            reason_of(served.client.start("BidiStream", metadata=STRANGER)), 30
        )

        assert reason == "TOKEN_INVALID"
        assert not first.done()
        first.cancel()


@pytest.mark.parametrize("kind", ["Unary", "ServerStream"])
async def test_calls_with_a_single_message_are_refused_at_once(
    served: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SILENCE_S", 60.0)
    monkeypatch.setattr(requests, "DISCARD_S_MAX", 60.0)
    call = served.client.start(kind, TEXT, metadata=STRANGER)

    assert await asyncio.wait_for(reason_of(call), 30) == "TOKEN_INVALID"
