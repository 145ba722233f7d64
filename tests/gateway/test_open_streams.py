"""What all streams of a gateway are told together."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.backends.local import LocalBackend
from gateway.endpoints.open_streams import OpenStream, OpenStreams
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import HttpExchange
from gateway.http.lifecycle import Lifecycle
from gateway.settings import Settings
from girih.ids import TenantId
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.correlation import Call
from services.plumbing.identity import Principal
from tests.authority import Authority
from tests.gateway.sample import sample_contract


def principal(expires_in_s: float = 600) -> Principal:
    expires_at = int(time.time() + expires_in_s)
    return Principal(
        TenantId("acme"), "user:1", frozenset(), "gateway.girih", expires_at=expires_at
    )


async def nothing(*_arguments: Any) -> Any:
    return {}


def exchange() -> HttpExchange:
    return HttpExchange(
        {"method": "GET", "raw_path": b"/"}, nothing, nothing, {}, Budget(2**20, share=2**20)
    )


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


@pytest.fixture
async def streams(authority: Authority, lifecycle: Lifecycle) -> OpenStreams:
    answer = {"GIRIH_ENVIRONMENT": "development", "GATEWAY_STREAM_HEARTBEAT_S": "0.01"}
    settings = Settings.from_environ(authority.environ | answer)
    return OpenStreams(settings, lifecycle, lambda caller: caller.subject == "user:revoked")


@dataclass
class Rpc:
    """A call that only can be cancelled."""

    cancel: Callable[[], object]


def call(cancel: Callable[[], object]) -> UpstreamCall:
    backend = LocalBackend("accounts", sample_contract().services[0], object())
    return UpstreamCall(Rpc(cancel), backend, lambda _error: errors.internal())


def end_reason(stream: OpenStream) -> HttpError | None:
    return stream.call.end_reason if stream.call is not None else None


async def ended(streams: OpenStreams, caller: Principal | None) -> OpenStream:
    """A stream of this caller once something has ended it."""
    is_ended = asyncio.Event()
    with correlation.bind(Call("id", principal=caller)), streams.opened(exchange()) as stream:
        stream.call = call(is_ended.set)
        async with asyncio.timeout(60):
            await is_ended.wait()
        return stream


@pytest.mark.parametrize(
    ("caller", "reason", "message"),
    [
        (principal(expires_in_s=-1), "TOKEN_EXPIRED", "the token has expired"),
        (
            Principal(TenantId("acme"), "user:revoked", frozenset(), "", expires_at=2**40),
            "TOKEN_INVALID",
            "the session has ended",
        ),
    ],
)
async def test_a_stream_ends_with_what_its_caller_was_let_in_by(
    caller: Principal, reason: str, message: str, streams: OpenStreams
) -> None:
    watching = asyncio.ensure_future(streams.watch())

    stream = await ended(streams, caller)

    watching.cancel()
    error = end_reason(stream)
    assert error is not None
    assert (error.status, error.message) == (401, message)
    assert error.details["reason"] == reason


async def test_a_stopping_gateway_ends_all_of_them(
    streams: OpenStreams, lifecycle: Lifecycle
) -> None:
    asyncio.get_running_loop().call_later(0.01, lifecycle.stop)

    result = await asyncio.gather(*(ended(streams, principal()) for _ in range(3)))

    assert [error and error.status for error in map(end_reason, result)] == [503] * 3
    assert streams.count == 0


async def test_nothing_is_kept_of_callers_that_have_gone(streams: OpenStreams) -> None:
    for number in range(100):
        caller = Principal(
            TenantId(f"tenant-{number}"), "user:1", frozenset(), "", expires_at=2**40
        )
        with correlation.bind(Call("id", principal=caller)), streams.opened(exchange()):
            assert streams.count == 1

    assert not streams._by_tenant
    assert not streams._by_subject
