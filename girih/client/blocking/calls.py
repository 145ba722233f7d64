"""One call over gRPC without asyncio: its token, its attempts, its answers. Knows no rpc.

What is decided is decided in `girih.client.retry` and `girih.client.cursors`, as for asyncio.
"""

import inspect
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from girih.client.caller import Caller, Metadata, with_token
from girih.client.context import is_accepted
from girih.client.cursors import Cursor
from girih.client.errors import ClientClosed, GirihError, Unavailable
from girih.client.refusals import from_rpc_error
from girih.client.retry import Resumption
from girih.client.tokens import RenewedToken
from girih.status_details import FailedCall

R = TypeVar("R", bound=Message)
P = TypeVar("P")
C = TypeVar("C")

CUT_OFF: Final = (grpc.RpcError,)
"""What is raised for a call that has ended early."""

_NEVER: Final = threading.TIMEOUT_MAX


def metadata_of(caller: Caller, context_metadata: Metadata, timeout_s: float) -> Metadata:
    """What an attempt carries; raises Unavailable when a token that is renewed by itself does not
    come in time."""
    return with_token(context_metadata, _token(caller, timeout_s))


def begun(
    method: Callable[..., C],
    request: Message | Iterator[Message],
    **options: Any,  # noqa: ANN401
) -> C:
    """The call of an rpc; raises ClientClosed."""
    try:
        return method(request, **options)
    except ValueError:  # gRPC raises it for no other reason
        raise ClientClosed from None


def unary(caller: Caller, method: Callable[..., R], request: Message, timeout: float | None) -> R:
    """Call until there is an answer; raises GirihError. Only for what may be repeated."""
    context = caller.context()
    context_metadata = context.metadata()
    attempts = caller.attempts(context, timeout)
    metadata: Metadata = ()
    while True:
        attempt_s = attempts.begin()
        try:
            metadata = metadata_of(caller, context_metadata, attempt_s)
            return begun(method, request, timeout=attempt_s, metadata=metadata)
        except grpc.RpcError as error:
            problem = _named(error)
        except Unavailable as error:  # the token
            problem = error
        # Raised here, where it drags no pages of gRPC's own behind it.
        caller.note(problem, metadata)
        time.sleep(attempts.pause_after(problem))


def parts(
    caller: Caller,
    method: Callable[..., Any],
    cursor: Cursor[Message, Any, P],
    timeout: float | None = None,
) -> Generator[P]:
    """What the cursor takes of a streamed answer, over as many calls as that needs; raises
    GirihError."""
    context = caller.context()
    context_metadata = context.metadata()
    attempts = caller.attempts(context, timeout)
    metadata: Metadata = ()
    while not cursor.is_done:
        attempt_s = attempts.begin()
        try:
            metadata = metadata_of(caller, context_metadata, attempt_s)
            with WatchedCall(begun(method, cursor.begin(), metadata=metadata)) as call:
                while (response := call.next(attempt_s)) is not None:
                    if (part := cursor.take(response)) is not None:
                        yield part
                    attempts.progressed()
                    attempt_s = attempts.begin()
        except GirihError as error:
            caller.note(error, metadata)
            time.sleep(attempts.pause_after(error))
        else:
            return


class WatchedCall:
    """A call whose answers are waited for so long and no longer. Cancelled with its block.

    gRPC without asyncio bounds a call as a whole, and no single answer. So a thread looks at the
    clock while one is waited for, and cancels the call when it does not come. There is one for a
    call, and none where nothing is bounded.
    """

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - a grpc.Call that is iterated over
        self._call = call
        self._changed = threading.Condition()
        self._due_s = _NEVER
        self._wakes_s = _NEVER
        self._is_late = False
        self._is_over = False
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """End it, from any thread; whoever waits for an answer gets Unavailable."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._call.cancel()

    def accepted(self, timeout_s: float) -> bool:
        """Whether the server has taken the call, once it has or has ended it."""
        return is_accepted(self._wait(self._call.initial_metadata, timeout_s))

    def next(self, timeout_s: float | None) -> Any:  # noqa: ANN401 - a response of the rpc
        """The next answer, None at the end; raises GirihError."""
        return self._wait(lambda: next(self._call, None), timeout_s)

    def _wait(self, answer: Callable[[], Any], timeout_s: float | None) -> Any:  # noqa: ANN401
        if timeout_s is not None:
            self._expect(time.monotonic() + timeout_s)
        try:
            return answer()
        except grpc.RpcError as error:
            if self._is_late:
                raise Unavailable.no_answer("no answer came in time") from None
            raise _named(error) from None
        finally:
            self._due_s = _NEVER

    def _expect(self, due_s: float) -> None:
        with self._changed:
            self._due_s = due_s
            if self._watch is None:
                self._watch = threading.Thread(target=self._look, name="girih watch", daemon=True)
                self._watch.start()
            elif due_s < self._wakes_s:
                self._changed.notify()

    def _look(self) -> None:
        with self._changed:
            while not self._is_over:
                self._wakes_s = self._due_s
                left_s = self._due_s - time.monotonic()
                if left_s <= 0.0:
                    self._is_late = True
                    break
                self._changed.wait(min(left_s, _NEVER))
        self._call.cancel()


def _named(error: grpc.RpcError) -> GirihError:
    # Whatever is raised for a call that has ended is the call as well.
    return from_rpc_error(cast("FailedCall", error))


def _token(caller: Caller, timeout_s: float) -> str:
    if isinstance(caller.token, str):
        return caller.token
    if isinstance(caller.token, RenewedToken):
        return caller.token.get(timeout_s)
    token = caller.token()
    if not isinstance(token, str):
        if inspect.iscoroutine(token):
            token.close()
        raise TypeError("token must be a text or a plain function here; AsyncClient takes others")
    return token


def resumed(
    one_call: Callable[[], Generator[P]],
    resumption: Resumption,
    closed: threading.Event,
    on_interrupted: Callable[[GirihError], None] | None,
) -> Generator[P]:
    """What one call after the other brings, until `closed`; raises what no new call mends."""
    while not closed.is_set():
        resumption.began()
        try:
            for part in one_call():
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
        closed.wait(pause_s)
