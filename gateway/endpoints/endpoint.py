"""What all endpoints do: take a request apart, call, and map errors. One per http rule."""

import asyncio
from typing import Any, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from gateway.backends.remote import Backend, Request
from gateway.contract.descriptors import Contract, scope_of, success_status
from gateway.contract.rules import Rule
from gateway.endpoints.large_answers import LargeAnswers
from gateway.endpoints.large_bodies import LargeBodies
from gateway.endpoints.open_streams import OpenStreams
from gateway.endpoints.upstream_call import CallFailure, UpstreamCall
from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import HttpExchange
from gateway.hubs.ring import RingBytes
from gateway.settings import Settings
from gateway.transcoding.codec import Decoder, Encoder, json_path_of
from gateway.transcoding.requests import RequestBuilder
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.errors import ServiceError
from services.plumbing.grpc.contract import request_bytes_max
from services.plumbing.identity import PUBLIC

_JSON = b"application/json"

_JSON_TIMES = 8
"""So many bytes of JSON may be one of a message: the names of fields, escapes, digits."""

_INLINE_BYTES_MAX = 2**15
"""What a body of so many bytes holds is read within some milliseconds, whatever it is."""

_RING_BYTES_MAX = 2**26
"""What followers that share their streams may be behind, all together."""

_THREAD_BYTES_MAX = 2**17
"""A parser of so much keeps the interpreter for some milliseconds at a time."""


class Endpoint(Protocol):
    """What a route leads to."""

    rule: Rule
    scope: str
    """What the caller's token must allow."""
    takes_ticket: bool
    """Whether who cannot send a token may bring a ticket in the URL."""

    @property
    def timeout_s(self) -> float:
        """The longest that a call may take which begins now."""

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        """Answer the request, or raise ValidationError or HttpError before the answer has begun."""


class EndpointContext:
    """What the endpoints of one gateway share: what is compiled once, and what is counted."""

    def __init__(
        self,
        contract: Contract,
        settings: Settings,
        streams: OpenStreams,
        large_bodies: LargeBodies,
    ) -> None:
        self.settings = settings
        self.large_bodies = large_bodies
        self.streams = streams
        self.decoder = Decoder()
        self.encoder = Encoder({status_pb2.Status.DESCRIPTOR.full_name: self._refusal})
        self.large_answers = LargeAnswers(settings.large_answer_bytes_max)
        self.ring_bytes = RingBytes(_RING_BYTES_MAX)
        self.long_bodies = Budget(2, share=1)
        """Two are read at once, and one of a tenant: each takes the interpreter from all others."""
        self._contract = contract

    def detail(self, detail: AnyMessage) -> tuple[str, Any] | None:
        """A service's own error detail by its name. Details of google.rpc are told elsewhere."""
        name = detail.TypeName()
        if name.startswith("google."):
            return None
        try:
            descriptor = self._contract.pool.FindMessageTypeByName(name)
            message = GetMessageClass(descriptor).FromString(detail.value)
        except (KeyError, DecodeError):
            return None
        short = descriptor.name
        return short[0].lower() + short[1:], self.encoder.message(descriptor)(message)

    def _refusal(self, status: status_pb2.Status) -> dict[str, Any]:
        """An error within an answer, told as errors are: one request of many was refused."""
        error = errors.from_status(status, "called", self.detail)
        return {"code": error.code, "message": error.message, "details": error.details}


class MethodEndpoint:
    """What the endpoints of all kinds of method have in common."""

    takes_ticket = False

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        self.rule = rule
        self.scope = scope_of(rule.method)
        self.builder = RequestBuilder(rule, context.decoder)
        self._context = context
        self._settings = context.settings
        self._backend = backend
        self._status = success_status(rule.method)
        limit = min(context.settings.body_bytes_max, _JSON_TIMES * request_bytes_max(rule.method))
        if self.scope == PUBLIC:
            # Nobody knows who sends it.
            limit = min(limit, context.settings.public_body_bytes_max)
        self._body_bytes_max = limit

    async def request(self, exchange: HttpExchange, captured: tuple[str, ...]) -> Request:
        """Raises ValidationError, HttpError and ClientGone."""
        check_body_headers(exchange, _JSON, takes_body=self.builder.takes_body)
        settings = self._settings
        body = await exchange.body(self._body_bytes_max, settings.body_timeout_s)
        return await self.message(exchange, captured, body)

    async def message(
        self, exchange: HttpExchange, captured: tuple[str, ...], body: bytes
    ) -> Request:
        """What the parts of a request say, made off the event loop when that takes long.

        Raises ValidationError, and HttpError when it cannot be told now.
        """
        query = exchange.query_string
        if len(body) <= _INLINE_BYTES_MAX:
            return self.builder.build(captured, query, body)
        if len(body) <= _THREAD_BYTES_MAX:
            return await self._built_by_thread(exchange.tenant, captured, query, body)
        large_bodies = self._context.large_bodies
        return await large_bodies.message(exchange.tenant, self.rule, captured, query, body)

    async def _built_by_thread(
        self, tenant: str, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> Message:
        """Waits for its turn no longer than its caller has time; raises HttpError then."""
        turns = self._context.long_bodies
        try:
            async with asyncio.timeout(correlation.current().remaining_s()):
                await turns.take(1, tenant)
        except TimeoutError:
            raise errors.too_busy() from None
        try:
            return await asyncio.to_thread(self.builder.build, captured, query, body)
        finally:
            turns.give_back(1, tenant)

    def call(self, rpc: Any) -> UpstreamCall:  # noqa: ANN401 - what starting it gave
        """What this endpoint's method was called by."""
        return UpstreamCall(rpc, self._backend, self._error)

    def _error(self, error: CallFailure) -> HttpError:
        if isinstance(error, ServiceError):
            return errors.from_service_error(error, self._json_path)
        return errors.from_call(error, self._backend.label, self._context.detail, self._json_path)

    def response_invalid(self) -> HttpError:
        return errors.bad_gateway(self._backend.label)

    def _json_path(self, proto_path: str) -> str:
        return json_path_of(self.rule.method.input_type, proto_path)


def check_body_headers(exchange: HttpExchange, *media_types: bytes, takes_body: bool) -> bytes:
    """The media type of the body, the first of these when none is said.

    Raises HttpError for a body that is none of what the route takes.
    """
    if not exchange.announces_body:
        return media_types[0]
    if not takes_body:
        raise errors.unexpected_body()
    if b"content-encoding" in exchange.headers:
        raise errors.unsupported_media_type("a request body cannot be compressed")
    header = exchange.headers.get(b"content-type", media_types[0])
    media_type = header.partition(b";")[0].strip().lower()
    if media_type not in media_types:
        taken = b" or ".join(media_types).decode()
        raise errors.unsupported_media_type(f"a request body must be {taken}")
    return media_type
