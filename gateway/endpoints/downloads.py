"""Endpoints of methods that stream bytes: the answer is those bytes, of whatever type.

A download takes the memory of one message, however long it is.
"""

import re
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.remote import Backend
from gateway.contract.descriptors import BYTES
from gateway.contract.rules import Rule
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, SLOW_READER, HttpExchange, SlowReader

_MEDIA_TYPE_DEFAULT = BYTES.encode()
_is_media_type = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII).fullmatch


def media_type_of(body: Any) -> bytes:  # noqa: ANN401 - a google.api.HttpBody
    """The media type that a body names, or the one of bytes of any kind."""
    name: str = body.content_type
    return name.encode() if _is_media_type(name) else _MEDIA_TYPE_DEFAULT


class DownloadEndpoint(MethodEndpoint):
    """One request, and bytes as an answer."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self._start = backend.server_stream(rule.method)
        self._parse = GetMessageClass(rule.method.output_type).FromString
        self.timeout_s = self._settings.stream_timeout_s

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        request = await self.request(exchange, captured)
        with self._context.streams.opened(exchange) as stream:
            call = stream.call = self.call(self._start(request))
            with call.running(exchange):
                await self._download(call, exchange)

    async def _download(self, call: UpstreamCall, exchange: HttpExchange) -> None:
        """An error before the first byte has a status of its own; a later one breaks it off."""
        await call.accepted()
        body = await self._next(call)
        media_type = _MEDIA_TYPE_DEFAULT if body is None else media_type_of(body)
        await exchange.start(self._status, [*API_HEADERS, (b"content-type", media_type)])
        if exchange.method == "HEAD":
            await exchange.end()
            return
        exchange.stream(self._settings.stream_write_timeout_s)
        try:
            while body is not None:
                await exchange.write(body.data)
                body = await self._next(call)
            await exchange.end()
        except (HttpError, SlowReader) as error:
            # Nothing in a body tells of an error: one that is cut off shows that it is not whole.
            exchange.error_code = error.code if isinstance(error, HttpError) else SLOW_READER
            exchange.abort()

    async def _next(self, call: UpstreamCall) -> Any:  # noqa: ANN401 - a message, or None
        raw = await call.read()
        try:
            return None if raw is None else self._parse(raw)
        except DecodeError:
            raise self.response_invalid() from None
