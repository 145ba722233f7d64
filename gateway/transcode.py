"""Endpoints made from http rules: one for calls that are answered at once, one for streams."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Protocol

import grpc
import grpc.aio
import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from gateway import errors
from gateway.backends import Backend
from gateway.codec import Decoder, Encoder
from gateway.contract import Contract, message_class, success_status
from gateway.errors import HttpError
from gateway.exchange import API_HEADERS, JSON, Exchange, SlowReader
from gateway.lifecycle import Lifecycle
from gateway.requests import RequestBuilder
from gateway.rules import Rule
from gateway.settings import Settings
from gateway.stream_forms import StreamForm, StreamForms


class Endpoint(Protocol):
    """What a route leads to."""

    rule: Rule
    timeout_s: float

    async def __call__(self, exchange: Exchange, captured: tuple[str, ...]) -> None:
        """Answer the request, or raise Refused or HttpError before the answer has begun."""


class Transcoder:
    """Makes endpoints from rules. One per gateway: what is compiled once is shared."""

    def __init__(self, contract: Contract, settings: Settings, lifecycle: Lifecycle) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.decoder = Decoder()
        self.encoder = Encoder()
        self._contract = contract
        self._stream_count = 0

    def endpoint(self, rule: Rule, backend: Backend) -> Endpoint:
        if rule.method.server_streaming:
            return StreamEndpoint(self, rule, backend)
        return UnaryEndpoint(self, rule, backend)

    @contextmanager
    def stream_slot(self) -> Iterator[None]:
        """Held while a stream is open; raises HttpError when there are too many."""
        if self._stream_count >= self.settings.stream_count_max:
            raise errors.too_busy()
        self._stream_count += 1
        try:
            yield
        finally:
            self._stream_count -= 1

    def detail(self, detail: AnyMessage) -> tuple[str, Any] | None:
        """A service's own error detail by its name. Details of google.rpc are told elsewhere."""
        name = detail.TypeName()
        if name.startswith("google."):
            return None
        try:
            descriptor = self._contract.pool.FindMessageTypeByName(name)
            message = message_class(descriptor).FromString(detail.value)
        except (KeyError, DecodeError):
            return None
        short = descriptor.name
        return short[0].lower() + short[1:], self.encoder.message(descriptor)(message)


class _MethodEndpoint:
    """What both kinds of endpoint do: build the request, and translate what goes wrong."""

    def __init__(self, transcoder: Transcoder, rule: Rule, backend: Backend) -> None:
        self.rule = rule
        self.builder = RequestBuilder(rule, transcoder.decoder)
        self._transcoder = transcoder
        self._backend = backend
        self._status = success_status(rule.method)

    async def request(self, exchange: Exchange, captured: tuple[str, ...]) -> Message:
        _check_body_headers(exchange, takes_body=self.builder.takes_body)
        settings = self._transcoder.settings
        body = await exchange.body(settings.body_bytes_max, settings.body_timeout_s)
        return self.builder.build(captured, exchange.query_string, body)

    def error(self, error: grpc.aio.AioRpcError) -> HttpError:
        return errors.from_call(error, self._backend.label, self._transcoder.detail)


class UnaryEndpoint(_MethodEndpoint):
    """One request, one answer."""

    def __init__(self, transcoder: Transcoder, rule: Rule, backend: Backend) -> None:
        super().__init__(transcoder, rule, backend)
        self.timeout_s = transcoder.settings.call_timeout_s
        self._encode = transcoder.encoder.message(rule.answer)
        self._shown = attrgetter(rule.response_body) if rule.response_body else None
        self._start: Any = backend.calls.unary_unary(
            _path(rule),
            request_serializer=message_class(rule.method.input_type).SerializeToString,
            response_deserializer=message_class(rule.method.output_type).FromString,
        )

    async def __call__(self, exchange: Exchange, captured: tuple[str, ...]) -> None:
        call = self._start(await self.request(exchange, captured))
        try:
            with exchange.watching(on_gone=call.cancel):
                response = await call
        except grpc.aio.AioRpcError as error:
            raise self.error(error) from None
        shown = response if self._shown is None else self._shown(response)
        await exchange.respond(self._status, orjson.dumps(self._encode(shown)))


class StreamEndpoint(_MethodEndpoint):
    """One request, many answers: as lines of JSON or as server-sent events."""

    def __init__(self, transcoder: Transcoder, rule: Rule, backend: Backend) -> None:
        super().__init__(transcoder, rule, backend)
        self.timeout_s = transcoder.settings.stream_timeout_s
        self._forms = StreamForms(rule.method.output_type, transcoder.encoder)
        self._start: Any = backend.streams.unary_stream(
            _path(rule),
            request_serializer=message_class(rule.method.input_type).SerializeToString,
            response_deserializer=message_class(rule.method.output_type).FromString,
        )

    async def __call__(self, exchange: Exchange, captured: tuple[str, ...]) -> None:
        request = await self.request(exchange, captured)
        form = self._forms.accepted(exchange.headers.get(b"accept", b""))
        with self._transcoder.stream_slot():
            call = self._start(request)
            try:
                await self._stream(call, form, exchange)
            finally:
                call.cancel()

    async def _stream(self, call: Any, form: StreamForm, exchange: Exchange) -> None:  # noqa: ANN401
        # Await the first message, so that an early failure gets its own HTTP status.
        try:
            with exchange.watching(on_gone=call.cancel):
                first = await call.read()
        except grpc.aio.AioRpcError as error:
            raise self.error(error) from None
        await exchange.start(self._status, [*API_HEADERS, *form.headers])
        if exchange.method == "HEAD":
            await exchange.end()
            return
        exchange.stream(self._transcoder.settings.stream_write_timeout_s)
        try:
            await exchange.end(await self._pumped(call, first, form, exchange))
        except SlowReader:
            exchange.error_code = "SLOW_READER"
            await exchange.abort()

    async def _pumped(
        self,
        call: Any,  # noqa: ANN401 - a call that is read from
        first: Any,  # noqa: ANN401 - a message, or the end
        form: StreamForm,
        exchange: Exchange,
    ) -> bytes:
        """Write the stream until something ends it; answers what is to be written last."""
        pump = asyncio.ensure_future(_pump(call, first, form, exchange))
        gone = asyncio.ensure_future(exchange.until_gone())
        stopping = asyncio.ensure_future(self._transcoder.lifecycle.stopping.wait())
        heartbeat = asyncio.ensure_future(self._heartbeat(form, exchange))
        tasks: set[asyncio.Future[Any]] = {pump, gone, stopping, heartbeat}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return self._last_words(pump, gone, heartbeat, form, exchange)
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _last_words(
        self,
        pump: "asyncio.Future[None]",
        gone: "asyncio.Future[None]",
        heartbeat: "asyncio.Future[None]",
        form: StreamForm,
        exchange: Exchange,
    ) -> bytes:
        if gone.done():
            exchange.error_code = "CLIENT_GONE"
            return b""
        if heartbeat.done():
            heartbeat.result()  # a reader too slow even for this
        if not pump.done():
            return _failed(errors.shutting_down(), form, exchange)
        try:
            pump.result()
        except grpc.aio.AioRpcError as error:
            return _failed(self.error(error), form, exchange)
        return form.end

    async def _heartbeat(self, form: StreamForm, exchange: Exchange) -> None:
        while True:
            await asyncio.sleep(self._transcoder.settings.stream_heartbeat_s)
            if form.heartbeat:
                await exchange.write(form.heartbeat)


async def _pump(call: Any, message: Any, form: StreamForm, exchange: Exchange) -> None:  # noqa: ANN401
    while message is not grpc.aio.EOF:
        for chunk in form.chunks(message):
            await exchange.write(chunk)
            # A large message is many chunks: let others have their turn in between.
            await asyncio.sleep(0)
        message = await call.read()


def _failed(error: HttpError, form: StreamForm, exchange: Exchange) -> bytes:
    exchange.error_code = error.code
    return form.failure(error.body(exchange.correlation_id))


def _check_body_headers(exchange: Exchange, *, takes_body: bool) -> None:
    if not exchange.announces_body:
        return
    if not takes_body:
        raise HttpError(
            400,
            "INVALID_ARGUMENT",
            "this route takes no body",
            {"reason": "UNEXPECTED_BODY"},
            ((b"connection", b"close"),),
        )
    if b"content-encoding" in exchange.headers:
        raise errors.unsupported_media_type("a request body cannot be compressed")
    media_type = exchange.headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
    if media_type != JSON:
        raise errors.unsupported_media_type("a request body is application/json")


def _path(rule: Rule) -> str:
    assert rule.method.containing_service is not None
    return f"/{rule.method.containing_service.full_name}/{rule.method.name}"
