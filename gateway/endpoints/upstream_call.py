"""One call of a service, made for one request: what bounds it, what ends it, and why it ended.

Knows nothing of what the call carries, and of HTTP only how an error is told.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio

from gateway.backends.remote import Backend, PendingCall, Request
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import HttpExchange
from girih.client.context import is_accepted
from services.plumbing.errors import ServiceError, let_go

T = TypeVar("T")

CallFailed = (grpc.aio.AioRpcError, ServiceError)
"""What a call ends with that did not succeed: of another process, or of this one."""

CallFailure = grpc.aio.AioRpcError | ServiceError


class UpstreamCall:
    """A call that runs. Whatever is awaited of it raises HttpError when it failed or was ended."""

    def __init__(
        self,
        rpc: Any,  # noqa: ANN401 - a call of any arity, of gRPC or of this process
        backend: Backend,
        to_http_error: Callable[[CallFailure], HttpError],
    ) -> None:
        self._rpc = rpc
        self._backend = backend
        self._to_http_error = to_http_error
        self.end_reason: HttpError | None = None
        """Why it ends, when neither its service nor its client ended it."""

    def running(self, exchange: HttpExchange) -> "_Running":
        """A block behind which the call is over; raises ClientGone when the client goes away."""
        return _Running(self, self._backend.pending, exchange)

    def cancel(self) -> None:
        self._rpc.cancel()

    def end(self, error: HttpError) -> None:
        """End it soon, with this error, unless another one came first."""
        self.end_reason = self.end_reason or error
        self.cancel()

    async def accepted(self) -> bool:
        """Whether the service has taken the call on, which is answered by a stream, once it has
        said so or has ended it."""
        try:
            async with asyncio.timeout(self._backend.response_timeout_s()):
                metadata = await self._result(self._rpc.initial_metadata())
        except TimeoutError:
            raise errors.no_answer() from None
        self._backend.pending.discard(self)
        self._backend.answered_count += 1
        return is_accepted(metadata)

    async def response(self) -> Any:  # noqa: ANN401 - a message, or its bytes
        """The only response of the call."""
        response = await self._result(self._rpc)
        self._backend.answered_count += 1
        return response

    async def read(self) -> bytes | None:
        """The bytes of the next response, None behind the last."""
        raw = await self._result(self._rpc.read())
        return None if raw is grpc.aio.EOF else raw

    async def write(self, request: Request) -> None:
        """Raises what gRPC does, InvalidStateError when the call is over."""
        await self._rpc.write(request)

    async def done_writing(self) -> None:
        """Raises as `write` does."""
        await self._rpc.done_writing()

    async def _result(self, awaitable: Awaitable[T]) -> T:
        try:
            return await awaitable
        except CallFailed as error:
            # The call knows it: with what it went through it would hold the whole request.
            let_go(error)
            raise self._to_http_error(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # A task that is being cancelled is to end, whatever became of the call.
            if self.end_reason is None or (task is not None and task.cancelling()):
                raise
            raise self.end_reason from None


class _Running:
    """See `UpstreamCall.running`. No generator: every call has one of these."""

    __slots__ = ("_call", "_pending", "_watch")

    def __init__(
        self, call: UpstreamCall, pending: set[PendingCall], exchange: HttpExchange
    ) -> None:
        self._call = call
        self._pending = pending
        self._watch = exchange.watching(on_gone=call.cancel)

    def __enter__(self) -> None:
        self._pending.add(self._call)
        self._watch.__enter__()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._pending.discard(self._call)
        self._call.cancel()
        self._watch.__exit__(kind, *error)
