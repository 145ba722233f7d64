"""Endpoints of methods that answer once: JSON, or a body of any type."""

import asyncio
from operator import attrgetter
from typing import Any

import orjson

from gateway.backends.remote import Backend
from gateway.contract.descriptors import HTTP_BODY
from gateway.contract.rules import Rule
from gateway.endpoints.downloads import media_type_of
from gateway.endpoints.endpoint import CallFailed, EndpointContext, MethodEndpoint
from gateway.http import errors
from gateway.http.exchange import HttpExchange


class UnaryEndpoint(MethodEndpoint):
    """One request, one answer."""

    def __init__(self, context: EndpointContext, rule: Rule, backend: Backend) -> None:
        super().__init__(context, rule, backend)
        self._start = backend.unary(rule.method)
        self._shown = attrgetter(rule.response_body) if rule.response_body else None
        self._is_body = rule.answer.full_name == HTTP_BODY
        self._encode = None if self._is_body else context.encoder.message(rule.answer)

    @property
    def timeout_s(self) -> float:
        timeout_s, patience_s = self._settings.call_timeout_s, self._backend.patience_s()
        return timeout_s if patience_s is None else min(timeout_s, patience_s)

    async def __call__(self, exchange: HttpExchange, captured: tuple[str, ...]) -> None:
        call = self._start(await self.request(exchange, captured))
        waited_for = self._backend.waited_for
        waited_for.add(call)
        try:
            with exchange.watching(on_gone=call.cancel):
                response = await call
        except CallFailed as error:
            raise self.error(error) from None
        except asyncio.CancelledError:
            if call in waited_for:
                raise
            raise errors.no_answer() from None
        finally:
            waited_for.discard(call)
        if response is None:
            # What gRPC makes of an answer that is not of the type it should be.
            raise self.not_understood()
        await self._respond(exchange, response if self._shown is None else self._shown(response))

    async def _respond(self, exchange: HttpExchange, answer: Any) -> None:  # noqa: ANN401 - a message
        if self._encode is not None:
            await exchange.respond(self._status, orjson.dumps(self._encode(answer)))
        else:
            await exchange.respond(self._status, answer.data, media_type_of(answer))
