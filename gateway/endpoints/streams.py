"""Endpoints of methods that answer with a stream: as lines of JSON, or as server-sent events."""

import asyncio
import time
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message

from gateway.backends.remote import Backend
from gateway.contract.rules import Rule
from gateway.contract.streams import stream_shape
from gateway.endpoints.endpoint import CallFailed, EndpointContext, MethodEndpoint
from gateway.endpoints.open_streams import OpenStream
from gateway.endpoints.stream_encodings import StreamEncoding, StreamEncodings
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, SLOW_READER, HttpExchange, SlowReader
from gateway.transcoding.validation import ValidationError

LAST_EVENT_ID = b"last-event-id"

_POSITION_MAX = 2**63 - 2
_EARLY_S = 0.05
"""So long a stream that may be quiet is waited for, since it may be refused at once."""


class StreamEndpoint(MethodEndpoint):
    """One request, many answers."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self.timeout_s = self._settings.stream_timeout_s
        self._shape = stream_shape(rule.method)
        self._encodings = StreamEncodings(rule.method.output_type, self._shape, context.encoder)
        self._start = backend.server_stream(rule.method)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        request = await self.request(exchange, captured)
        self._go_on(exchange, request)
        form = self._encodings.accepted(exchange.headers.get(b"accept", b""))
        with self._workshop.streams.opened(exchange) as stream:
            call = self._start(request)
            stream.carries(call.cancel)
            try:
                with exchange.watching(on_gone=call.cancel):
                    await self.answering(call)
                    first = asyncio.ensure_future(self._next(call, stream))
                    await asyncio.wait({first}, timeout=self._early_s(request))
                    await self._answer(call, first, form, stream, exchange)
            finally:
                call.cancel()

    def _go_on(self, exchange: HttpExchange, request: Message) -> None:
        """Begin behind what the client has seen, whatever the URL says.

        A browser that reconnects asks the same URL again and adds the header.
        """
        given = exchange.headers.get(LAST_EVENT_ID)
        if given is None or not self._shape.resumes_at:
            return
        if not (given.isdigit() and len(given) < 20 and int(given) <= _POSITION_MAX):
            raise ValidationError([("Last-Event-ID", "must be the id of an event of this stream")])
        setattr(request, self._shape.resumes_at, int(given) + 1)

    def _early_s(self, request: Message) -> float | None:
        """How long a first message is waited for before headers are sent without one."""
        name = self._shape.stays_open
        may_be_quiet = bool(name) and getattr(request, name)
        return _EARLY_S if may_be_quiet else None

    async def _answer(
        self,
        call: Any,  # noqa: ANN401 - a call that gives a stream
        first: "asyncio.Future[bytes | None]",
        form: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        if first.done():
            first.result()  # a failure has its own status as long as nothing was sent
        await exchange.start(self._status, [*API_HEADERS, *form.headers])
        if exchange.method == "HEAD":
            await exchange.end()
            return
        exchange.stream(self._settings.stream_write_timeout_s)
        try:
            last = await self._tell(call, first, form, stream, exchange)
            await exchange.end(last)
        except SlowReader:
            exchange.error_code = SLOW_READER
            await exchange.abort()

    async def _tell(
        self,
        call: Any,  # noqa: ANN401 - a call that gives a stream
        first: "asyncio.Future[bytes | None]",
        form: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> bytes:
        """Write the stream until something ends it; answers what is to be written last."""
        stream.begins(form.heartbeat)
        try:
            await exchange.write(form.begin)
            raw = await first
            while raw is not None:
                await _write(form.chunks(raw), stream, exchange)
                raw = await self._next(call, stream)
        except DecodeError:
            return _failed(self.not_understood(), form, exchange)
        except HttpError as error:
            return _failed(error, form, exchange)
        finally:
            stream.heartbeat = b""
            first.cancel()
        return form.end

    async def _next(self, call: Any, stream: OpenStream) -> bytes | None:  # noqa: ANN401
        """The bytes of the next message, None behind the last; raises HttpError."""
        try:
            raw = await call.read()
        except CallFailed as error:
            raise self.error(error) from None
        except asyncio.CancelledError as cancelled:
            raise stream.reason_of(cancelled) from None
        return None if raw is grpc.aio.EOF else raw


async def _write(chunks: Any, stream: OpenStream, exchange: HttpExchange) -> None:  # noqa: ANN401
    is_first = True
    for chunk in chunks:
        if not is_first:
            # A large message is many chunks: let others have their turn in between.
            await asyncio.sleep(0)
        await exchange.write(chunk)
        is_first = False
    stream.last_write_s = time.monotonic()


def _failed(error: HttpError, form: StreamEncoding, exchange: HttpExchange) -> bytes:
    exchange.error_code = error.code
    return form.failure(error.body(exchange.correlation_id))
