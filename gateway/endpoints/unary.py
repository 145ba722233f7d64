"""Endpoints of methods that answer once: JSON, or a body of any type."""

from operator import attrgetter
from typing import Any

import orjson

from gateway.backends.remote import Backend
from gateway.contract.descriptors import HTTP_BODY
from gateway.contract.rules import Rule
from gateway.endpoints.downloads import media_type_of
from gateway.endpoints.endpoint import EndpointContext, MethodEndpoint
from gateway.http.exchange import HttpExchange


class UnaryEndpoint(MethodEndpoint):
    """One request, one response."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self._start = backend.unary(rule.method)
        self._body_of = attrgetter(rule.response_body) if rule.response_body else None
        self._is_body = rule.answer.full_name == HTTP_BODY
        self._encode = None if self._is_body else context.encoder.message(rule.answer)

    @property
    def timeout_s(self) -> float:
        call_s, response_s = self._settings.call_timeout_s, self._backend.response_timeout_s()
        return call_s if response_s is None else min(call_s, response_s)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        call = self.call(self._start(await self.request(exchange, captured)))
        with call.running(exchange):
            response = await call.response()
        if response is None:
            # What gRPC makes of a response that is not of the type it should be.
            raise self.response_invalid()
        await self._respond(exchange, self._body_of(response) if self._body_of else response)

    async def _respond(self, exchange: HttpExchange, body: Any) -> None:  # noqa: ANN401 - a message
        if self._encode is not None:
            await exchange.respond(self._status, orjson.dumps(self._encode(body)))
        else:
            await exchange.respond(self._status, body.data, media_type_of(body))
