"""Endpoints of methods that take a stream: a body of lines, each of them one message.

Nothing is collected: the next line is taken from the connection when the service has taken
the one before, and the answers go out as they come. A client must read while it sends.
"""

import contextlib
from collections.abc import AsyncIterator

import orjson
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.remote import Backend, Request
from gateway.contract.rules import Rule
from gateway.contract.streams import stream_shape
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint, check_body_headers
from gateway.endpoints.feed import Feed
from gateway.endpoints.open_streams import OpenStream
from gateway.endpoints.stream_encodings import NDJSON, StreamEncoding, StreamEncodings, failed
from gateway.endpoints.upstream_call import UpstreamCall
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
        self._parse = GetMessageClass(rule.method.output_type).FromString
        self._encode = context.encoder.message(rule.method.output_type)
        self._is_answered_by_stream = rule.method.server_streaming

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        assert not captured, "checked when the rule was read"
        media_type = check_body_headers(exchange, NDJSON.encode(), JSON, takes_body=True)
        with self._context.streams.opened(exchange) as stream:
            call = stream.call = self.call(self._start())
            feed = Feed(call, ends_call=not self._is_answered_by_stream)
            with call.running(exchange):
                async with feed.running(self._messages(exchange, media_type)):
                    await call.accepted()
                    await self._respond(call, feed, stream, exchange)

    async def _messages(self, exchange: HttpExchange, media_type: bytes) -> AsyncIterator[Request]:
        """One for each line; as JSON the body is one, for clients that know no NDJSON."""
        settings = self._settings
        if media_type == JSON:
            body = await exchange.body(settings.line_bytes_max, settings.body_timeout_s)
            yield await self.message(exchange, (), body)
            return
        lines = exchange.lines(settings.line_bytes_max, settings.line_timeout_s)
        async with contextlib.aclosing(lines):
            async for number, line in lines:
                try:
                    yield await self.message(exchange, (), line)
                except ValidationError as error:
                    raise ValidationError(error.under(f"line {number}")) from None

    async def _respond(
        self, call: UpstreamCall, feed: Feed, stream: OpenStream, exchange: HttpExchange
    ) -> None:
        try:
            if self._is_answered_by_stream:
                encoding = self._encodings.accepted(exchange.headers.get(b"accept", b""))
                await self._respond_each(call, feed, encoding, stream, exchange)
            else:
                await self._respond_once(call, exchange)
        except HttpError as error:
            error.headers = (*error.headers, _CLOSE)
            raise
        except SlowReader:
            exchange.error_code = SLOW_READER
            exchange.abort()

    async def _respond_once(self, call: UpstreamCall, exchange: HttpExchange) -> None:
        try:
            response = self._parse(await call.response())
        except DecodeError:
            raise self.response_invalid() from None
        await exchange.respond(self._status, orjson.dumps(self._encode(response)), JSON, [_CLOSE])

    async def _respond_each(
        self,
        call: UpstreamCall,
        feed: Feed,
        encoding: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        """What was sent before a bad line is answered before the error is written."""
        raw = await call.read()
        if raw is None and feed.refusal is not None:
            raise feed.refusal
        await exchange.start(self._status, [*API_HEADERS, *encoding.headers, _CLOSE])
        exchange.stream(self._settings.stream_write_timeout_s)
        stream.begin(encoding.heartbeat)
        try:
            await exchange.write(encoding.begin)
            while raw is not None:
                with stream.writing():
                    for chunk in encoding.chunks(raw):
                        await exchange.write(chunk)
                raw = await call.read()
            last = failed(feed.refusal, encoding, exchange) if feed.refusal else encoding.end
        except HttpError as error:
            last = failed(feed.refusal or error, encoding, exchange)
        except DecodeError:
            last = failed(self.response_invalid(), encoding, exchange)
        stream.heartbeat = b""
        await exchange.end(last)
