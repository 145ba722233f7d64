"""A call of a service: what ends it, and what is raised for that."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.backends.local import LocalBackend
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import ClientGone, HttpExchange
from services.plumbing.budget import Budget
from services.plumbing.errors import NotFound
from tests.gateway.sample import sample_contract


class Rpc:
    """A call that nothing comes back from until it is cancelled or fails."""

    def __init__(self) -> None:
        self._result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.cancelled_count = 0

    def cancel(self) -> None:
        self.cancelled_count += 1
        self._result.cancel()

    def fail(self, error: Exception) -> None:
        self._result.set_exception(error)

    def __await__(self) -> object:
        return self._result.__await__()

    async def initial_metadata(self) -> bytes:
        return await self._result

    read = initial_metadata


class Connection:
    """A connection whose client leaves when the test says so."""

    is_write_paused = False
    has_whole_body = True

    def __init__(self) -> None:
        self.lose: Callable[[], object] | None = None

    def when_lost(self, act: Callable[[], object] | None) -> None:
        self.lose = act

    def abort(self) -> None:
        """Nothing is sent."""


class Backend(LocalBackend):
    def __init__(self, timeout_s: float | None = None) -> None:
        super().__init__("sample", sample_contract().services[0], object())
        self._timeout_s = timeout_s

    def response_timeout_s(self) -> float | None:  # type: ignore[override] # a local one has none
        return self._timeout_s


AWAITED: list[Callable[[UpstreamCall], Awaitable[object]]] = [
    UpstreamCall.accepted,
    UpstreamCall.response,
    UpstreamCall.read,
]


async def nothing(*_arguments: Any) -> Any:
    return {}


def exchange(connection: Connection | None = None) -> HttpExchange:
    scope = {"method": "GET", "raw_path": b"/"}
    made = HttpExchange(scope, nothing, nothing, {}, Budget(2**20, share=2**20))
    made.connection = connection
    return made


def to_http_error(_error: object) -> HttpError:
    return errors.route_not_found()


async def waiting(
    call: UpstreamCall, awaited: Callable[[UpstreamCall], Awaitable[object]], exchange: HttpExchange
) -> "asyncio.Task[object]":
    """A task that awaits the call, and does so already."""

    async def wait() -> object:
        with call.running(exchange):
            return await awaited(call)

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("awaited", AWAITED)
async def test_a_call_that_is_ended_raises_the_first_reason(
    awaited: Callable[[UpstreamCall], Awaitable[object]],
) -> None:
    call = UpstreamCall(Rpc(), Backend(), to_http_error)
    task = await waiting(call, awaited, exchange())

    call.end(errors.shutting_down())
    call.end(errors.internal())

    with pytest.raises(HttpError) as caught:
        await task
    assert caught.value.status == 503


@pytest.mark.parametrize("awaited", AWAITED)
async def test_a_client_that_leaves_ends_its_call(
    awaited: Callable[[UpstreamCall], Awaitable[object]],
) -> None:
    backend, rpc, connection = Backend(), Rpc(), Connection()
    task = await waiting(UpstreamCall(rpc, backend, to_http_error), awaited, exchange(connection))

    assert connection.lose is not None
    connection.lose()

    with pytest.raises(ClientGone):
        await task
    assert rpc.cancelled_count
    assert not backend.pending


@pytest.mark.parametrize("awaited", AWAITED)
async def test_a_request_that_is_cancelled_stays_cancelled_whatever_ended_its_call(
    awaited: Callable[[UpstreamCall], Awaitable[object]],
) -> None:
    rpc = Rpc()
    call = UpstreamCall(rpc, Backend(), to_http_error)
    task = await waiting(call, awaited, exchange())

    task.cancel()
    call.end(errors.shutting_down())

    with pytest.raises(asyncio.CancelledError):
        await task
    assert rpc.cancelled_count


@pytest.mark.parametrize("awaited", AWAITED)
async def test_a_call_that_fails_raises_what_its_endpoint_makes_of_it(
    awaited: Callable[[UpstreamCall], Awaitable[object]],
) -> None:
    rpc = Rpc()
    task = await waiting(UpstreamCall(rpc, Backend(), to_http_error), awaited, exchange())

    rpc.fail(NotFound("nothing"))

    with pytest.raises(HttpError) as caught:
        await task
    assert caught.value.status == 404


async def test_a_service_that_does_not_answer_is_not_waited_for() -> None:
    backend = Backend(timeout_s=0.01)
    task = await waiting(
        UpstreamCall(Rpc(), backend, to_http_error), UpstreamCall.accepted, exchange()
    )

    with pytest.raises(HttpError) as caught:
        await task
    assert caught.value.status == 504
    assert not backend.pending


async def test_a_call_that_has_failed_is_not_left_to_the_collector() -> None:
    """A call and its error would hold each other, and with them the request and its body."""
    rpc = Rpc()
    call = UpstreamCall(rpc, Backend(), to_http_error)
    gone = weakref.ref(call)
    rpc.fail(NotFound("there is none"))
    gc.disable()
    try:
        await _refused(call)
        del call

        assert gone() is None
    finally:
        gc.enable()


async def _refused(call: UpstreamCall) -> None:
    with pytest.raises(HttpError), call.running(exchange()):
        await call.response()
