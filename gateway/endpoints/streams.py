"""Endpoints of methods that answer with a stream: as lines of JSON, or as server-sent events."""

import asyncio
import re
from collections.abc import Iterator

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.remote import Backend
from gateway.contract.rules import Rule
from gateway.contract.streams import stream_shape
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint
from gateway.endpoints.open_streams import OpenStream
from gateway.endpoints.shared_streams import SharedStream
from gateway.endpoints.stream_encodings import StreamEncoding, StreamEncodings, failed
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, SLOW_READER, HttpExchange, SlowReader
from gateway.hubs.hub import Hubs
from gateway.transcoding.slices import SLICE_BYTES
from gateway.transcoding.validation import ValidationError
from girih.client.context import ACCEPTED_S_MAX

LAST_EVENT_ID = b"last-event-id"

_EVENT_ID_MAX = 2**63 - 2
_event_id = re.compile(rb"(\d{1,19})(?:-([0-9A-Za-z]{1,64}))?").fullmatch
_SHARED_BYTES_MAX = 2**17
"""A larger response is read and made into text by each client for itself, in turns."""


class StreamEndpoint(MethodEndpoint):
    """One request, many responses."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self.timeout_s = self._settings.stream_timeout_s
        self.takes_ticket = rule.is_event_stream
        self._shape = stream_shape(rule.method)
        self._encodings = StreamEncodings(rule.method.output_type, self._shape, context.encoder)
        self._parse_request = GetMessageClass(rule.method.input_type).FromString
        self._start = backend.server_stream(rule.method)
        self._hubs = Hubs(_SHARED_BYTES_MAX, context.ring_bytes)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        request = await self.request(exchange, captured)
        if isinstance(request, bytes):
            request = self._parse_request(request)
        is_over = self._resume(exchange, request)
        encoding = self._encodings.accepted(exchange.headers.get(b"accept", b""))
        if is_over:
            await exchange.start(self._status, [*API_HEADERS, *encoding.headers])
            await exchange.end(encoding.begin + encoding.end)
            return
        with self._context.streams.opened(exchange) as stream:
            call = stream.call = self.call(self._start(request))
            with call.running(exchange):
                first = await self._first(call, request)
                await self._respond(call, first, request, encoding, stream, exchange)

    def _resume(self, exchange: HttpExchange, request: Message) -> bool:
        """Begin behind what the client has seen, whatever the URL says.

        A browser that reconnects asks the same URL again and adds the header. Answers whether
        it has seen everything that there can be.
        """
        last_id = exchange.headers.get(LAST_EVENT_ID)
        if last_id is None or not self._shape.resumes_at:
            return False
        number, incarnation = self._seen(last_id)
        for name in self._shape.resume_clears:
            request.ClearField(name)
        if incarnation:
            setattr(request, self._shape.incarnation, incarnation)
        is_falling = self._shape.is_falling(request)
        first = number + (-1 if is_falling else 1)
        if is_falling and first < 1:
            return True
        setattr(request, self._shape.resumes_at, first)
        return False

    def _seen(self, last_id: bytes) -> tuple[int, str]:
        """The number in an id of ours, and the incarnation behind it if there is one."""
        match = _event_id(last_id)
        number = int(match[1]) if match is not None else _EVENT_ID_MAX + 1
        incarnation = "" if match is None or match[2] is None else match[2].decode()
        if number > _EVENT_ID_MAX or (incarnation and not self._shape.incarnation):
            raise ValidationError([("Last-Event-ID", "must be the id of an event of this stream")])
        return number, incarnation

    async def _first(self, call: UpstreamCall, request: Message) -> "asyncio.Future[bytes | None]":
        """The first message: there, failed, or of a stream that was accepted and may be quiet.

        One of which its service says neither in time is taken to be quiet before it is answered.
        """
        name = self._shape.stays_open
        may_be_quiet = bool(name) and getattr(request, name)
        silence_s = ACCEPTED_S_MAX if may_be_quiet else None
        try:
            async with asyncio.timeout(silence_s):
                is_accepted = await call.accepted()
        except TimeoutError:
            is_accepted = True
        first = asyncio.ensure_future(call.read())
        if not (may_be_quiet and is_accepted):
            await asyncio.wait({first}, timeout=silence_s)
        return first

    async def _respond(
        self,
        call: UpstreamCall,
        first: "asyncio.Future[bytes | None]",
        request: Message,
        encoding: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        if first.done():
            first.result()  # a failure has its own status as long as nothing was sent
        await exchange.start(self._status, [*API_HEADERS, *encoding.headers])
        if exchange.method == "HEAD":
            await exchange.end()
            return
        exchange.stream(self._settings.stream_write_timeout_s)
        try:
            last = await self._write_all(call, first, request, encoding, stream, exchange)
            await exchange.end(last)
        except SlowReader:
            exchange.error_code = SLOW_READER
            exchange.abort()

    async def _write_all(
        self,
        call: UpstreamCall,
        first: "asyncio.Future[bytes | None]",
        request: Message,
        encoding: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> bytes:
        """Write the stream until something ends it; returns what is to be written last."""
        stream.begin(encoding.heartbeat)
        try:
            await exchange.write(encoding.begin)
            # Who is written to by others must be known not to read.
            if exchange.connection is not None and self._shape.is_shared(request):
                shared = self._shared(request, encoding, stream, exchange)
                await shared.write_all(call, first)
                return encoding.end
            raw = await first
            while raw is not None:
                await self._write(len(raw), iter(encoding.chunks(raw)), stream, exchange)
                raw = await call.read()
        except DecodeError:
            return failed(self.response_invalid(), encoding, exchange)
        except HttpError as error:
            return failed(error, encoding, exchange)
        finally:
            stream.heartbeat = b""
            first.cancel()
        return encoding.end

    def _shared(
        self,
        request: Message,
        encoding: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> SharedStream:
        return SharedStream(
            self._shape,
            self._hubs,
            encoding,
            stream,
            exchange,
            request,
            lambda again: self.call(self._start(again)),
            lambda byte_count, chunks: self._write(byte_count, chunks, stream, exchange),
        )

    async def _write(
        self,
        byte_count: int,
        chunks: Iterator[bytes],
        stream: OpenStream,
        exchange: HttpExchange,
    ) -> None:
        """Write the parts of a response of so many bytes."""
        with stream.writing():
            if byte_count > SLICE_BYTES:
                async for chunk in self._context.large_answers.in_turns(exchange.tenant, chunks):
                    await exchange.write(chunk)
            else:
                for chunk in chunks:
                    await exchange.write(chunk)
