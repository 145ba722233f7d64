"""Endpoints of methods that take a stream: a body of lines, each of them one message.

Nothing is collected: the next line is taken from the connection when the service has taken
the one before, and the answers go out as they come. A client must read while it sends.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import orjson
from google.protobuf.message import DecodeError, Message

from gateway.backends.remote import Backend
from gateway.contract.descriptors import message_class
from gateway.contract.rules import Rule
from gateway.contract.streams import stream_shape
from gateway.endpoints.endpoint import (
    CallFailed,
    EndpointContext,
    MethodEndpoint,
    check_body_headers,
)
from gateway.endpoints.open_streams import OpenStream
from gateway.endpoints.stream_encodings import NDJSON, StreamEncoding, StreamEncodings
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, JSON, SLOW_READER, HttpExchange, SlowReader
from gateway.transcoding.validation import ValidationError

_CLOSE = (b"connection", b"close")
"""Nobody knows how much of a body is still to come when its answer ends early."""


class UploadEndpoint(MethodEndpoint):
    """Many requests; as many answers as the service gives, or a single one."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self.timeout_s = self._settings.stream_timeout_s
        self._start = backend.client_stream(rule.method)
        output, shape = rule.method.output_type, stream_shape(rule.method)
        self._encodings = StreamEncodings(output, shape, context.encoder)
        self._parse = message_class(rule.method.output_type).FromString
        self._encode = context.encoder.message(rule.method.output_type)
        self._is_answered_by_stream = rule.method.server_streaming

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        assert not captured, "checked when the rule was read"
        check_body_headers(exchange, NDJSON.encode(), takes_body=True)
        with self._workshop.streams.opened(exchange) as stream:
            call = self._start()
            stream.carries(call.cancel)
            feed = _Feed(call, ends=None if self._is_answered_by_stream else stream)
            feeding = asyncio.ensure_future(feed.run(self._messages(exchange)))
            try:
                with exchange.watching(on_gone=call.cancel):
                    await self.answering(call)
                    await self._answer(call, feed, stream, exchange)
            finally:
                call.cancel()
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def _messages(self, exchange: HttpExchange) -> AsyncIterator[Message]:
        settings = self._settings
        lines = exchange.lines(settings.line_bytes_max, settings.line_timeout_s)
        async with contextlib.aclosing(lines):
            async for number, line in lines:
                try:
                    yield await self.message((), exchange.query_string, line)
                except ValidationError as error:
                    raise ValidationError(error.under(f"line {number}")) from None

    async def _answer(
        self,
        call: Any,  # noqa: ANN401 - a call that takes a stream
        feed: "_Feed",
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        try:
            if self._is_answered_by_stream:
                form = self._encodings.accepted(exchange.headers.get(b"accept", b""))
                await self._answer_each(call, feed, form, stream, exchange)
            else:
                await self._answer_once(call, stream, exchange)
        except HttpError as error:
            error.headers = (*error.headers, _CLOSE)
            raise
        except SlowReader:
            exchange.error_code = SLOW_READER
            await exchange.abort()

    async def _answer_once(
        self,
        call: Any,  # noqa: ANN401 - a call that takes a stream
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        try:
            message = self._parse(await self._awaited(call, stream))
        except (HttpError, DecodeError) as error:
            failure = error if isinstance(error, HttpError) else self.not_understood()
            raise failure from None
        await exchange.respond(self._status, orjson.dumps(self._encode(message)), JSON, [_CLOSE])

    async def _answer_each(
        self,
        call: Any,  # noqa: ANN401 - a call that takes and gives a stream
        feed: "_Feed",
        form: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        """What was sent before a bad line is answered before the error is told."""
        raw = await self._awaited(call.read(), stream)
        if raw is grpc.aio.EOF and feed.refusal is not None:
            raise feed.refusal
        await exchange.start(self._status, [*API_HEADERS, *form.headers, _CLOSE])
        exchange.stream(self._settings.stream_write_timeout_s)
        stream.begins(form.heartbeat)
        try:
            await exchange.write(form.begin)
            while raw is not grpc.aio.EOF:
                for chunk in form.chunks(raw):
                    await exchange.write(chunk)
                raw = await self._awaited(call.read(), stream)
            last = form.end if feed.refusal is None else _failed(feed.refusal, form, exchange)
        except HttpError as error:
            last = _failed(feed.refusal or error, form, exchange)
        except DecodeError:
            last = _failed(self.not_understood(), form, exchange)
        stream.heartbeat = b""
        await exchange.write(last)
        await exchange.discard_body()
        await exchange.end()

    async def _awaited(self, answer: Any, stream: OpenStream) -> Any:  # noqa: ANN401
        """What comes of a call, or of a read; raises HttpError."""
        try:
            return await answer
        except CallFailed as error:
            raise self.error(error) from None
        except asyncio.CancelledError as cancelled:
            raise stream.reason_of(cancelled) from None


class _Feed:
    """Passes messages on to a call, one after the other."""

    def __init__(self, call: Any, ends: OpenStream | None) -> None:  # noqa: ANN401 - takes a stream
        """`ends` is the stream that a bad message ends, when what came before must not count."""
        self._call = call
        self._ends = ends
        self.refusal: HttpError | None = None
        """Why no more are taken, once that is so."""

    async def run(self, messages: AsyncIterator[Message]) -> None:
        try:
            async for message in messages:
                await self._call.write(message)
        except (ValidationError, HttpError) as error:
            self._refuse(errors.invalid(error) if isinstance(error, ValidationError) else error)
        except (*CallFailed, asyncio.InvalidStateError):
            # The service has ended the call: whoever reads its answers learns why.
            return
        except BaseException:
            # The client has gone, or we have a bug: nobody is to wait for more.
            self._call.cancel()
            raise
        with contextlib.suppress(*CallFailed, asyncio.InvalidStateError):
            await self._call.done_writing()

    def _refuse(self, error: HttpError) -> None:
        self.refusal = error
        if self._ends is not None:
            self._ends.end(error)


def _failed(error: HttpError, form: StreamEncoding, exchange: HttpExchange) -> bytes:
    exchange.error_code = error.code
    return form.failure(error.body(exchange.correlation_id))
