"""A call over asyncio's stack of gRPC: its token, its attempts, its answers, and the call after
it. Knows no rpc."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from typing import Any, Final, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from girih.client.caller import Caller, Metadata, with_token
from girih.client.cursors import Cursor
from girih.client.errors import ClientClosed, GirihError, Refusal, Unavailable
from girih.client.refusals import WRITE_FAILED, from_rpc_error
from girih.client.retry import Resumption
from girih.client.tokens import RenewedToken

Q = TypeVar("Q")
R = TypeVar("R", bound=Message)
T = TypeVar("T")
P = TypeVar("P")
C = TypeVar("C")

CUT_OFF: Final = (grpc.aio.AioRpcError, asyncio.CancelledError)
"""What is raised for a call that has ended early."""

_LOOK_S: Final = 0.005
_LOOKS_MAX: Final = 40
"""How often a status is looked for that has not come when a write fails. As a rule it is there in
the next turn of the event loop."""


async def metadata_of(caller: Caller, context_metadata: Metadata, timeout_s: float) -> Metadata:
    """What an attempt carries; raises Unavailable when the token does not come in time."""
    return with_token(context_metadata, await _token(caller, timeout_s))


def begun(method: Callable[..., C], *request: Any, **options: Any) -> C:  # noqa: ANN401
    """The call of an rpc; raises ClientClosed."""
    try:
        return method(*request, **options)
    except grpc.aio.UsageError:
        raise ClientClosed from None


async def unary(
    caller: Caller,
    method: Callable[..., Awaitable[R]],
    request: Message,
    timeout: float | None,
) -> R:
    """Call until there is an answer; raises GirihError. Only for what may be repeated."""
    context = caller.context()
    context_metadata = context.metadata()
    attempts = caller.attempts(context, timeout)
    metadata: Metadata = ()
    while True:
        attempt_s = attempts.begin()
        try:
            metadata = await metadata_of(caller, context_metadata, attempt_s)
            return await begun(method, request, timeout=attempt_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            problem = from_rpc_error(error)
        except Unavailable as error:  # the token
            problem = error
        except asyncio.CancelledError as cancelled:
            problem = cancelled_call(cancelled)
        # Raised here, where it drags no pages of gRPC's own behind it.
        caller.note(problem, metadata)
        await asyncio.sleep(attempts.pause_after(problem))


async def parts(
    caller: Caller,
    method: Callable[..., Any],
    cursor: Cursor[Message, Any, P],
    timeout: float | None = None,
) -> AsyncGenerator[P]:
    """What the cursor takes of a streamed answer, over as many calls as that needs; raises
    GirihError."""
    context = caller.context()
    context_metadata = context.metadata()
    attempts = caller.attempts(context, timeout)
    metadata: Metadata = ()
    while not cursor.is_done:
        attempt_s = attempts.begin()
        call: grpc.aio.UnaryStreamCall[Any, Any] | None = None
        try:
            metadata = await metadata_of(caller, context_metadata, attempt_s)
            call = begun(method, cursor.begin(), metadata=metadata)
            while response := await next_response(call, attempt_s):
                if (part := cursor.take(response)) is not None:
                    yield part
                attempts.progressed()
                attempt_s = attempts.begin()
        except GirihError as error:
            caller.note(error, metadata)
            await asyncio.sleep(attempts.pause_after(error))
        else:
            return
        finally:
            if call is not None:
                call.cancel()


class WrittenCall(Generic[T]):
    """A call of grpc.aio that requests are written to, and how it ended whatever was being written.

    A message that is on its way when its call ends makes grpc.aio tell an error of its own: in the
    place of the status that has come, or until it comes.
    """

    def __init__(self, rpc: Any) -> None:  # noqa: ANN401 - of one answer, or of many
        self._rpc = rpc
        self._ended: grpc.aio.AioRpcError | None = None
        """How it ended, as far as was known when it did."""
        rpc.add_done_callback(self._end)
        self.cancel: Final = rpc.cancel
        self.done: Final = rpc.done
        self.initial_metadata: Final = rpc.initial_metadata

    def __await__(self) -> Generator[Any, None, T]:
        return self._response().__await__()

    async def read(self) -> Any:  # noqa: ANN401 - a response, or the end
        try:
            return await self._rpc.read()
        except grpc.aio.AioRpcError as error:
            if not _is_lost(error):
                raise
        failure = await self._failure()
        if failure.code() is grpc.StatusCode.OK:
            return grpc.aio.EOF
        raise failure

    async def write(self, request: Any) -> None:  # noqa: ANN401 - a message, or its bytes
        """Raises what gRPC does."""
        await self._rpc.write(request)

    async def done_writing(self) -> None:
        await self._rpc.done_writing()

    async def _response(self) -> T:
        try:
            response: T = await self._rpc
        except grpc.aio.AioRpcError as error:
            if not _is_lost(error):
                raise
        else:
            return response
        raise await self._failure()

    def _end(self, rpc: Any) -> None:  # noqa: ANN401
        """Now: before whoever waits for it runs, the write that fails may have replaced it."""
        self._ended = _at_once(_status_of(rpc))

    async def _failure(self) -> grpc.aio.AioRpcError:
        error = self._ended
        for _ in range(_LOOKS_MAX):
            if error is not None and not _is_lost(error):
                break
            await asyncio.sleep(_LOOK_S)
            error = await _status_of(self._rpc)
        assert error is not None
        return error


async def next_response(
    call: grpc.aio.UnaryStreamCall[Any, R] | WrittenCall[R],
    timeout_s: float | None,
) -> R | None:
    """The next answer, None at the end; raises GirihError."""
    try:
        async with asyncio.timeout(timeout_s):
            response: Any = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except TimeoutError:
        raise Unavailable.no_answer("no answer came in time") from None
    except asyncio.CancelledError as cancelled:
        raise cancelled_call(cancelled) from None
    return None if response is grpc.aio.EOF else response


def cancelled_call(cancelled: asyncio.CancelledError) -> Unavailable:
    """What a call ends with that somebody cancelled, as closing its channel does; raises
    `cancelled` where it is the task that was."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise cancelled
    refusal = Refusal(code=grpc.StatusCode.CANCELLED, message="the call was cancelled")
    return Unavailable(refusal)


async def _token(caller: Caller, timeout_s: float) -> str:
    if isinstance(caller.token, str):
        return caller.token
    token: str | Awaitable[str]
    if isinstance(caller.token, RenewedToken):
        token = caller.token.at_hand() or caller.token.get_async()
    else:
        token = caller.token()
    if not inspect.isawaitable(token):
        return token
    try:
        async with asyncio.timeout(timeout_s):
            return await token
    except TimeoutError:
        raise Unavailable.no_answer("no token came in time") from None


async def resumed(
    one_call: Callable[[], AsyncGenerator[P]],
    resumption: Resumption,
    closed: asyncio.Event,
    on_interrupted: Callable[[GirihError], None] | None,
) -> AsyncGenerator[P]:
    """What one call after the other brings, until `closed`; raises what no new call mends."""
    while not closed.is_set():
        resumption.began()
        try:
            async with aclosing(one_call()) as parts:
                async for part in parts:
                    resumption.progressed()
                    yield part
            error: GirihError = Unavailable.no_answer("the server ended the call")
        except GirihError as problem:
            error = problem
        if closed.is_set():
            return
        pause_s = resumption.pause_after(error)
        if on_interrupted is not None:
            on_interrupted(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await closed.wait()


async def _status_of(rpc: Any) -> grpc.aio.AioRpcError:  # noqa: ANN401
    """Of a call that has ended. Waits for nothing."""
    return grpc.aio.AioRpcError(
        await rpc.code(), grpc.aio.Metadata(), await rpc.trailing_metadata(), await rpc.details()
    )


def _at_once(coroutine: Coroutine[Any, Any, grpc.aio.AioRpcError]) -> grpc.aio.AioRpcError:
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: grpc.aio.AioRpcError = done.value
        return result
    raise AssertionError("a call that has ended knows its status")


def _is_lost(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == WRITE_FAILED
