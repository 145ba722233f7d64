"""Endpoints of methods that take a stream of bytes: a body of any type and length.

The first message has what path, query and headers say; each has some of the body. Nothing is
collected: more is taken from the connection when the service has taken what came before.
"""

import contextlib
from collections.abc import AsyncIterator

import orjson
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.remote import Backend
from gateway.contract.rules import Rule
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint
from gateway.endpoints.feed import Feed
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import JSON, HttpExchange

_MESSAGE_BYTES = 1 << 18
"""Of the body in a message: what is smaller costs calls, what is larger memory."""

_CLOSE = (b"connection", b"close")
"""Nobody knows how much of a body is still to come when its answer ends early."""


class ByteUploadEndpoint(MethodEndpoint):
    """Bytes as a request, and one answer."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self.timeout_s = self._settings.stream_timeout_s
        self._start = backend.client_stream(rule.method)
        self._make = GetMessageClass(rule.method.input_type)
        self._parse = GetMessageClass(rule.method.output_type).FromString
        self._encode = context.encoder.message(rule.method.output_type)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        if b"content-encoding" in exchange.headers:
            raise errors.unsupported_media_type("a request body cannot be compressed")
        first = self._first(exchange, captured)
        with self._context.streams.opened(exchange) as stream:
            call = stream.call = self.call(self._start())
            feed = Feed(call, ends_call=True)
            with call.running(exchange):
                async with feed.running(self._messages(exchange, first)):
                    try:
                        await self._respond(call, exchange)
                    except HttpError as error:
                        error.headers = (*error.headers, _CLOSE)
                        raise

    def _first(self, exchange: HttpExchange, captured: tuple[str, ...]) -> Message:
        """What everything but the body says; raises ValidationError."""
        message = self.builder.build(captured, exchange.query_string, b"", exchange.headers)
        header = exchange.headers.get(b"content-type", b"")
        media_type = header.partition(b";")[0].strip().lower()
        getattr(message, self.rule.body).content_type = media_type.decode("ascii", "replace")
        return message

    async def _messages(self, exchange: HttpExchange, first: Message) -> AsyncIterator[Message]:
        message, body = first, self.rule.body
        parts = exchange.parts(_MESSAGE_BYTES, self._settings.line_timeout_s)
        async with contextlib.aclosing(parts):
            async for part in parts:
                getattr(message, body).data = part
                yield message
                message = self._make()
        if message is first:
            yield first

    async def _respond(self, call: UpstreamCall, exchange: HttpExchange) -> None:
        try:
            response = self._parse(await call.response())
        except DecodeError:
            raise self.response_invalid() from None
        await exchange.respond(self._status, orjson.dumps(self._encode(response)), JSON)
