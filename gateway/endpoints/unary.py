"""Endpoints of methods that answer once: JSON, or a body of any type."""

from contextlib import nullcontext
from operator import attrgetter
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.remote import Backend, Request
from gateway.contract.descriptors import HTTP_BODY, only_reads
from gateway.contract.rules import Rule
from gateway.endpoints.downloads import media_type_of
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import API_HEADERS, JSON, SLOW_READER, HttpExchange, SlowReader
from gateway.transcoding.slices import SLICE_BYTES, SlicedEncoder


class UnaryEndpoint(MethodEndpoint):
    """One request, one response."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self._start = backend.unary(rule.method)
        self._only_reads = only_reads(rule.method)
        self._parse = GetMessageClass(rule.method.output_type).FromString
        self._body_of = attrgetter(rule.response_body) if rule.response_body else None
        self._is_body = rule.answer.full_name == HTTP_BODY
        self._sliced_encoder = SlicedEncoder(context.encoder)
        self._encode = None if self._is_body else context.encoder.message(rule.answer)

    @property
    def timeout_s(self) -> float:
        call_s, response_s = self._settings.call_timeout_s, self._backend.response_timeout_s()
        return call_s if response_s is None else min(call_s, response_s)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        raw = await self._answer(exchange, await self.request(exchange, captured))
        if len(raw) <= SLICE_BYTES or self._body_of or self._is_body:
            await self._respond(exchange, raw)
        else:
            with self._context.large_answers.held(exchange.tenant, len(raw)):
                await self._respond_in_slices(exchange, raw)

    async def _answer(self, exchange: HttpExchange, request: Request) -> bytes:
        """The response. A call that was lost is made once more when that changes nothing: a replica
        that goes away gives up what reaches it in its last moment, and another one is there."""
        try:
            return await self._response(exchange, request)
        except HttpError as error:
            if not (self._only_reads and error.details.get("reason") == errors.CALL_LOST):
                raise
        return await self._response(exchange, request)

    async def _response(self, exchange: HttpExchange, request: Request) -> bytes:
        backlog = self._backend.backlog
        with nullcontext() if backlog is None else backlog.sent(exchange.tenant):
            call = self.call(self._start(request))
            with call.running(exchange):
                response: bytes = await call.response()
        return response

    async def _respond(self, exchange: HttpExchange, raw: bytes) -> None:
        try:
            response: Any = self._parse(raw)
        except DecodeError:
            raise self.response_invalid() from None
        body = self._body_of(response) if self._body_of else response
        if self._encode is not None:
            await exchange.respond(self._status, orjson.dumps(self._encode(body)))
        else:
            await exchange.respond(self._status, body.data, media_type_of(body))

    async def _respond_in_slices(self, exchange: HttpExchange, raw: bytes) -> None:
        """Send a large answer as it is made. What was sent cannot be taken back: an answer
        that turns out to be invalid is broken off."""
        made = self._sliced_encoder.slices(self.rule.answer, raw)
        slices = self._context.large_answers.in_turns(exchange.tenant, made)
        try:
            first = await anext(slices)
        except DecodeError:
            raise self.response_invalid() from None
        await exchange.start(self._status, [*API_HEADERS, (b"content-type", JSON)])
        exchange.stream(self._settings.stream_write_timeout_s)
        try:
            await exchange.write(first)
            async for text in slices:
                await exchange.write(text)
            await exchange.end()
        except (DecodeError, SlowReader) as error:
            is_slow = isinstance(error, SlowReader)
            exchange.error_code = SLOW_READER if is_slow else self.response_invalid().code
            exchange.abort()
