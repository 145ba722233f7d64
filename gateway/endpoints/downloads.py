"""Endpoints of methods that stream bytes: the answer is those bytes, of whatever type.

A download takes the memory of one message, however long it is.
"""

import asyncio
import re
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from gateway.backends.remote import Backend
from gateway.contract.descriptors import message_class
from gateway.contract.rules import Rule
from gateway.endpoints.endpoint import CallFailed, EndpointContext, MethodEndpoint
from gateway.endpoints.open_streams import OpenStream
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, SLOW_READER, HttpExchange, SlowReader

_MEDIA_TYPE_DEFAULT = b"application/octet-stream"
_is_media_type = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII).fullmatch


def media_type_of(body: Any) -> bytes:  # noqa: ANN401 - a google.api.HttpBody
    """What a body says that it is, or that nobody knows."""
    given: str = body.content_type
    return given.encode() if _is_media_type(given) else _MEDIA_TYPE_DEFAULT


class DownloadEndpoint(MethodEndpoint):
    """One request, and bytes as an answer."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self._start = backend.server_stream(rule.method)
        self._parse = message_class(rule.method.output_type).FromString

        self.timeout_s = self._settings.stream_timeout_s

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        request = await self.request(exchange, captured)
        with self._workshop.streams.opened(exchange) as stream:
            call = self._start(request)
            stream.carries(call.cancel)
            try:
                with exchange.watching(on_gone=call.cancel):
                    await self._download(call, stream, exchange)
            finally:
                call.cancel()

    async def _download(self, call: Any, stream: OpenStream, exchange: HttpExchange) -> None:  # noqa: ANN401
        """An error before the first byte has a status of its own; a later one breaks it off."""
        await self.answering(call)
        body = await self._next(call, stream)
        media_type = _MEDIA_TYPE_DEFAULT if body is None else media_type_of(body)
        await exchange.start(self._status, [*API_HEADERS, (b"content-type", media_type)])
        if exchange.method == "HEAD":
            await exchange.end()
            return
        exchange.stream(self._settings.stream_write_timeout_s)
        try:
            while body is not None:
                await exchange.write(body.data)
                body = await self._next(call, stream)
            await exchange.end()
        except (HttpError, SlowReader) as error:
            # Nothing in a body tells of an error: one that is cut off shows that it is not whole.
            exchange.error_code = error.code if isinstance(error, HttpError) else SLOW_READER
            await exchange.abort()

    async def _next(self, call: Any, stream: OpenStream) -> Any:  # noqa: ANN401 - a message, or None
        try:
            raw = await call.read()
            return None if raw is grpc.aio.EOF else self._parse(raw)
        except CallFailed as error:
            raise self.error(error) from None
        except asyncio.CancelledError as cancelled:
            raise stream.reason_of(cancelled) from None
        except DecodeError:
            raise self.not_understood() from None
