"""One call of an rpc: who makes it, and how its method is served. Knows no log.

Every service of the contract is served the same way: a method of a plain class for each rpc, which
gets the request, or the requests, and the `Call`, and returns or yields what it answers.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from girih.options.v1 import options_pb2
from girih.rules.checking import add_violations
from girih.rules.violations import FieldViolation, Violations
from girih.status_details import MESSAGE_TOO_LARGE
from girih.testing.refusals import Refused, invalid_input, refuse_if_any

_REQUEST_BYTES_MAX: Final = 64 * 1024
"""Of rpcs of which the contract says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that was let in."""

    tenant: str
    actor: str
    correlation_id: str
    causation_id: str
    check_valid: Callable[[], None]
    """Raises Refused once its token is none any more, or the server ends its streams."""
    is_active: Callable[[], bool]
    """Whether anybody waits for it."""
    on_end: Callable[[Callable[[], None]], None]
    """Has a function called when nobody does any more."""
    accept: Callable[[], None]
    """Tells who waits for an answer of several parts that there will be one. Once, before any."""


class RunningCalls:
    """How many calls are being served. Of one whose caller has its whole answer it is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts a call inside the block."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


Admit = Callable[[str, grpc.ServicerContext], Call]
"""Lets a call in that needs a scope, or raises Refused."""


@dataclass(frozen=True)
class TooLarge:
    """A request of a stream that is larger than its rpc takes."""

    refusal: Refused


def handler_of(
    service: ServiceDescriptor, servicer: object, admit: Admit, running: RunningCalls
) -> grpc.GenericRpcHandler:
    """Serves those rpcs of a service that the servicer has a method for."""
    handlers = {
        method.name: _method_handler(method, getattr(servicer, method.name), admit, running)
        for method in service.methods
        if hasattr(servicer, method.name)
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def check(request: Message) -> None:
    """Refuse what breaks the rules that the contract has for its fields."""
    violations = Violations()
    add_violations(request, violations)
    refuse_if_any(violations)


def parsed(kind: type[Message], content: bytes, bytes_max: int) -> Message:
    """Raises Refused for what is too large, or no such message."""
    if len(content) > bytes_max:
        message = f"a message of at most {bytes_max:,} bytes is taken"
        raise Refused(MESSAGE_TOO_LARGE, message, {"byte_count_max": bytes_max})
    try:
        return kind.FromString(content)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise invalid_input([FieldViolation("", f"must be a message of {name}")]) from None


def _method_handler(
    method: MethodDescriptor,
    serve: Callable[[Any, Call], Any],
    admit: Admit,
    running: RunningCalls,
) -> "grpc.RpcMethodHandler[Any, Any]":
    options: Any = method.GetOptions()
    scope = options.Extensions[options_pb2.scope]
    bytes_max = options.Extensions[options_pb2.request_bytes_max] or _REQUEST_BYTES_MAX
    stays_open = bool(options.Extensions[options_pb2.stream].stays_open)
    kind: Any = GetMessageClass(method.input_type)

    def request_of(content: Any) -> Any:  # noqa: ANN401 - one message, or an iterator of them
        if method.client_streaming:
            return _requests(kind, content, bytes_max)
        return parsed(kind, content, bytes_max)

    def unary(content: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        with running.counted():
            try:
                call = admit(scope, context)
                return serve(request_of(content), call)
            except Refused as refused:
                refused.end(context)

    def stream(content: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401
        with running.counted():
            try:
                call = admit(scope, context)
                if not stays_open:
                    call.accept()
                yield from serve(request_of(content), call)
            except Refused as refused:
                refused.end(context)

    return _HANDLERS[method.client_streaming, method.server_streaming](
        stream if method.server_streaming else unary,
        request_deserializer=bytes,
        response_serializer=_serialized,
    )


def _requests(
    kind: type[Message], contents: Iterable[bytes], bytes_max: int
) -> Iterator[Message | TooLarge]:
    for content in contents:
        try:
            yield parsed(kind, content, bytes_max)
        except Refused as refused:
            if refused.reason != MESSAGE_TOO_LARGE:
                raise
            yield TooLarge(refused)


def _serialized(response: Message) -> bytes:
    return response.SerializeToString()


_HANDLERS: Final[Mapping[tuple[bool, bool], Callable[..., "grpc.RpcMethodHandler[Any, Any]"]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
