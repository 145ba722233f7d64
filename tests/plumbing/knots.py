"""A small contract of every kind of rpc, made at run time, and servicers that do as asked.

The text of a request says what happens: "ok", "refuse", "crash" and so on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from girih.options.v1 import options_pb2
from services.plumbing import correlation
from services.plumbing.errors import Conflict
from services.plumbing.settings import MESSAGE_BYTES

Context = grpc.aio.ServicerContext[Any, Any]

DOMAIN = "knots.girih"
KINDS = ("Unary", "ServerStream", "ClientStream", "BidiStream")


SCOPE = "events.read"
"""What a token must allow to tie knots."""

SHORT_BYTES_MAX = 1_000
"""What the rpc `Short` takes; the others take the most that there is."""


def file(scope: str = SCOPE) -> FileDescriptorProto:
    """The contract, asking for `scope`, or saying nothing where that is empty."""
    made = FileDescriptorProto(name="knots.proto", package="girih.test.v1", syntax="proto3")
    text = made.message_type.add(name="Text")
    text.field.add(name="value", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    service = made.service.add(name="KnotService")
    for kind in (*KINDS, "Short"):
        method = service.method.add(
            name=kind,
            input_type=".girih.test.v1.Text",
            output_type=".girih.test.v1.Text",
            client_streaming=kind in {"ClientStream", "BidiStream"},
            server_streaming=kind in {"ServerStream", "BidiStream"},
        )
        options: Any = method.options
        if scope:
            options.Extensions[options_pb2.scope] = scope
        options.Extensions[options_pb2.request_bytes_max] = (
            SHORT_BYTES_MAX if kind == "Short" else MESSAGE_BYTES
        )
    return made


_pool = DescriptorPool()
_pool.Add(file())

SERVICE = _pool.FindServiceByName("girih.test.v1.KnotService")
Text: Any = GetMessageClass(_pool.FindMessageTypeByName("girih.test.v1.Text"))


class KnotsUntied(Conflict):
    """The refusal of the tests."""

    reason = "KNOTS_UNTIED"


@dataclass
class Seen:
    """What happened inside the servicer."""

    calls: list[correlation.Call] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class Knots:
    """Streams as async generators."""

    def __init__(self) -> None:
        self.seen = Seen()

    async def Unary(self, request: Any, context: Context) -> Any:
        return Text(value=await self._do(request.value, context))

    async def Short(self, request: Any, context: Context) -> Any:
        return await self.Unary(request, context)

    async def ClientStream(self, requests: AsyncIterator[Any], context: Context) -> Any:
        values = [await self._do(request.value, context) async for request in requests]
        return Text(value=",".join(values))

    async def ServerStream(self, request: Any, context: Context) -> AsyncIterator[Any]:
        yield Text(value="first")
        yield Text(value=await self._do(request.value, context))

    async def BidiStream(
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[Any]:
        async for request in requests:
            yield Text(value=await self._do(request.value, context))

    async def _do(self, what: str, context: Context) -> str:
        self.seen.calls.append(correlation.current())
        match what:
            case "refuse":
                raise KnotsUntied("two ends are loose", end_count=2)
            case "crash":
                raise ZeroDivisionError("secret: the password is swordfish")
            case "abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "by hand")
            case "let a cancellation out":
                raise asyncio.CancelledError
            case "write to one that left":
                raise grpc.aio.InternalError("the batch failed")
            case "wait":
                await self._wait()
        return what

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise


class WritingKnots(Knots):
    """Streams as coroutines that write, as some libraries' servicers do."""

    async def ServerStream(  # type: ignore[override]
        self, request: Any, context: Context
    ) -> None:
        await context.write(Text(value="first"))
        await context.write(Text(value=await self._do(request.value, context)))

    async def BidiStream(  # type: ignore[override]
        self, requests: AsyncIterator[Any], context: Context
    ) -> None:
        async for request in requests:
            await context.write(Text(value=await self._do(request.value, context)))


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    values: list[str]
    initial: dict[str, str | bytes]
    trailing: dict[str, str | bytes]

    @property
    def correlation_id(self) -> str | bytes | None:
        result = self.trailing.get("x-correlation-id")
        return self.initial.get("x-correlation-id", result)


class KnotClient:
    """Calls any kind of rpc in the same way, with the token that it is given."""

    def __init__(
        self, channel: grpc.aio.Channel, token: str = "", service: str = SERVICE.full_name
    ) -> None:
        self._channel = channel
        self.service = service
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def start(self, kind: str, *values: str, raw: bytes | None = None, **options: Any) -> Any:
        """The call as gRPC gives it; `raw` is sent in place of a message.

        Without values, a call that streams up is written to by whoever has it.
        """
        make = {
            "Unary": self._channel.unary_unary,
            "Short": self._channel.unary_unary,
            "ServerStream": self._channel.unary_stream,
            "ClientStream": self._channel.stream_unary,
            "BidiStream": self._channel.stream_stream,
        }[kind]
        messages = [Text(value=value).SerializeToString() for value in values]
        if raw is not None:
            messages = [raw]
        metadata = list(options.pop("metadata", ()))
        if "authorization" not in dict(metadata):
            metadata += self.metadata
        options["metadata"] = metadata or None
        call: Any = make(f"/{self.service}/{kind}", response_deserializer=Text.FromString)
        streams_up = kind in {"ClientStream", "BidiStream"}
        if streams_up:
            return call(_each(messages) if messages else None, **options)
        return call(messages[0] if messages else b"", **options)

    async def ask(self, kind: str, *values: str, **options: Any) -> Answer:
        call = self.start(kind, *values, **options)
        if kind in {"ServerStream", "BidiStream"}:
            result = [message.value async for message in call]
        else:
            result = [(await call).value]
        initial = await call.initial_metadata()
        return Answer(result, dict(initial), dict(await call.trailing_metadata()))


async def _each(messages: list[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message
