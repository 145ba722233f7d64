"""A call over asyncio's stack of gRPC: its token, its attempts, its answers, and the call after
it. Knows no rpc."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from girih.client.caller import Caller, Metadata, with_token
from girih.client.cursors import Cursor
from girih.client.errors import ClientClosed, GirihError, Refusal, Unavailable
from girih.client.refusals import from_rpc_error
from girih.client.retry import Resumption
from girih.client.tokens import RenewedToken

Q = TypeVar("Q")
R = TypeVar("R", bound=Message)
P = TypeVar("P")
C = TypeVar("C")

CUT_OFF: Final = (grpc.aio.AioRpcError, asyncio.CancelledError)
"""What is raised for a call that has ended early."""


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


async def next_response(
    call: grpc.aio.UnaryStreamCall[Any, R] | grpc.aio.StreamStreamCall[Any, R],
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
