"""The front: every HTTP request comes in here, and every answer goes out.

Gives each request its correlation id, finds its route, has admission let it in, turns whatever
goes wrong into the one error body, and writes the one log line and the numbers. Knows nothing
of gRPC.
"""

import asyncio
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.admission.admission import Admission
from gateway.contract.rules import Captured, Match, Routes
from gateway.endpoints.endpoint import Endpoint
from gateway.http import errors
from gateway.http.agent import enter_agent
from gateway.http.aliases import paths_meant
from gateway.http.cors import Cors
from gateway.http.errors import CLIENT_CLOSED_REQUEST, HttpError
from gateway.http.exchange import (
    API_HEADERS,
    ClientGone,
    Headers,
    HttpExchange,
    Receive,
    Scope,
    Send,
)
from gateway.http.lifecycle import Lifecycle
from gateway.http.metrics import HttpMetrics
from gateway.http.page import enter_page
from gateway.settings import Settings
from gateway.transcoding.validation import ValidationError
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.correlation import Call
from services.plumbing.logging import get_logger, write_line
from services.plumbing.metrics import Exemplar
from services.plumbing.telemetry import lines, tracing

_log = get_logger("gateway")

TIMEOUT_HEADER: Final = b"x-request-timeout"
CORRELATION_HEADER: Final = b"x-correlation-id"
CAUSATION_HEADER: Final = b"x-causation-id"
TRACEPARENT_HEADER: Final = b"traceparent"

_LOGGED_CHARS_MAX = 200

_CLIENT_GONE = "CLIENT_GONE"
_PROBES = frozenset({"/health/live", "/health/ready"})
"""Asked by whoever decides whether this process is fit: never refused for being asked often."""

_SECURITY_HEADERS: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_TLS_HEADERS: Final[Headers] = ((b"strict-transport-security", b"max-age=63072000"),)

_is_seconds = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?", re.ASCII).fullmatch


class Pages(Protocol):
    """The pages of the gateway itself: everything that is no route of the contract."""

    def route(self, path: str) -> str | None:
        """What a path is called in logs and metrics, one of a closed set; None for no page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@dataclass
class Application:
    """An ASGI application."""

    routes: Routes[Endpoint]
    newest_version: str
    """The version that paths without one stand for, as `/v1`."""
    pages: Pages
    admission: Admission
    settings: Settings
    lifecycle: Lifecycle
    metrics: HttpMetrics

    def __post_init__(self) -> None:
        bytes_max = self.settings.bodies_mib * 2**20
        self._bodies = Budget(bytes_max, share=bytes_max // 2)
        self.metrics.body_bytes = lambda: self._bodies.lent
        self._cors = Cors(self.settings.allowed_origins)
        is_tls = self.settings.http_transport != "plain"
        self._security_headers = (*_SECURITY_HEADERS, *(_TLS_HEADERS if is_tls else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        started_s = time.monotonic()
        headers = _by_name(scope["headers"])
        exchange = HttpExchange(scope, receive, send, headers, self._bodies)
        self._identify(exchange)
        self.metrics.in_flight_count += 1
        try:
            await self._answer(exchange, started_s)
        finally:
            self.metrics.in_flight_count -= 1
            exchange.close()
            self._finish(exchange, time.monotonic() - started_s)

    async def _answer(self, exchange: HttpExchange, started_s: float) -> None:
        """Answer, whatever happens."""
        try:
            await self._serve(exchange, started_s)
        except ValidationError as error:
            await exchange.fail(errors.invalid(error))
        except HttpError as error:
            await exchange.fail(error)
        except ClientGone:
            exchange.error_code = _CLIENT_GONE
            exchange.status = exchange.status or CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # The server waits no longer for what runs while it stops.
            if not self.lifecycle.is_stopping:
                raise
            await exchange.fail(errors.shutting_down())
        except Exception:
            _log.exception("a request failed: this is a bug", route=exchange.route)
            if exchange.status:
                exchange.error_code = "INTERNAL"
                raise
            await exchange.fail(errors.internal())

    async def _serve(self, exchange: HttpExchange, started_s: float) -> None:
        if self.metrics.in_flight_count > self.settings.request_count_max:
            raise errors.too_busy()
        match = self._find(exchange)
        method = "GET" if exchange.method == "HEAD" else exchange.method
        endpoint = match.targets.get(method) if match is not None else None
        if match is not None and endpoint is not None:
            captured = _captured(match)
            exchange.route = endpoint.rule.template.text
            await self._call(exchange, endpoint, captured, started_s)
            return
        page = self.pages.route(exchange.path)
        if page not in _PROBES:
            await self.admission.check_address(exchange)
        if page is not None:
            await self._show(exchange, page)
        elif exchange.path == "*":
            await self._no_endpoint(exchange, self.routes.methods)
        else:
            await self._no_endpoint(exchange, match.targets if match is not None else ())

    async def _show(self, exchange: HttpExchange, page: str) -> None:
        exchange.route = page
        exchange.is_quiet = True
        correlation.enter(Call(exchange.correlation_id))
        await self.pages(exchange.scope, exchange.receive, exchange.send_event)

    async def _call(
        self, exchange: HttpExchange, endpoint: Endpoint, captured: Captured, started_s: float
    ) -> None:
        """Call a route in the name of whoever admission has let in, until its deadline."""
        # Before anybody is known: what accounts are asked is bounded and named like the rest.
        call = self._entered(exchange, started_s, endpoint.timeout_s)
        rate_status = await self.admission.check_address(exchange)
        admitted = await self.admission.admit(
            exchange,
            endpoint.scope,
            rate_status,
            takes_ticket=endpoint.takes_ticket and exchange.method == "GET",
        )
        if admitted.principal is not None:
            correlation.enter(call.made_by(admitted.principal, admitted.token))
        try:
            await endpoint(exchange, captured)
        except HttpError as error:
            self.admission.refused_behind(exchange, admitted, error)
            raise

    def _find(self, exchange: HttpExchange) -> Match[Endpoint] | None:
        for path in paths_meant(exchange.path, self.newest_version):
            match = self.routes.find(path)
            if match is not None:
                return match
        return None

    async def _no_endpoint(self, exchange: HttpExchange, methods: Collection[str]) -> None:
        if not methods:
            raise errors.route_not_found()
        allowed = sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})
        if exchange.method != "OPTIONS":
            raise errors.method_not_allowed(allowed)
        allow = (b"allow", ", ".join(allowed).encode())
        headers = [*API_HEADERS, allow, *self._cors.preflight(exchange, allowed)]
        await exchange.start(204, headers)
        await exchange.end()

    def _identify(self, exchange: HttpExchange) -> None:
        """What is known of a request before anybody has looked at who sends it."""
        requested = exchange.headers.get(CORRELATION_HEADER, b"").decode("latin-1")
        is_valid = correlation.well_formed(requested)
        exchange.correlation_id = requested if is_valid else correlation.fresh()
        exchange.address = self.admission.address_of(exchange)
        enter_page(exchange.headers)
        enter_agent(exchange.headers)
        exchange.common_headers = (*self._security_headers, *self._cors.headers(exchange))

    def _entered(self, exchange: HttpExchange, started_s: float, timeout_s: float) -> Call:
        """The call that is made for this request. No other header of it is passed on."""
        timeout = exchange.headers.get(TIMEOUT_HEADER)
        if timeout is not None:
            timeout_s = min(timeout_s, _seconds(timeout))
        self._begin_span(exchange)
        call = Call(
            exchange.correlation_id,
            causation_id=_header_if(correlation.well_formed, exchange, CAUSATION_HEADER),
            traceparent=exchange.traceparent,
            deadline_s=started_s + timeout_s,
        )
        correlation.enter(call)
        return call

    @staticmethod
    def _begin_span(exchange: HttpExchange) -> None:
        """Go on with the trace that the caller tells of, or begin one."""
        sent = _header_if(correlation.well_formed_traceparent, exchange, TRACEPARENT_HEADER)
        exchange.traceparent = sent
        if tracing.is_on():
            method, route = exchange.method, exchange.route
            attributes = {"http.request.method": method, "http.route": route}
            exchange.span = tracing.served(f"{method} {route}", sent, attributes)
        if exchange.span is not None:
            exchange.traceparent = exchange.span.traceparent

    def _finish(self, exchange: HttpExchange, duration_s: float) -> None:
        method, route, status = exchange.method, exchange.route, exchange.status
        self.metrics.finished(method, route, status, duration_s, _end_span(exchange))
        fields: dict[str, Any] = {
            "event": "request",
            "method": method[:20],
            "route": route,
            "status": status,
            "duration_ms": round(duration_s * 1e3, 3),
            "correlation_id": exchange.correlation_id,
        }
        if exchange.tenant:
            fields["tenant"] = exchange.tenant
        if exchange.subject:
            fields["subject"] = exchange.subject
        if exchange.error_code:
            fields["code"] = exchange.error_code
        if exchange.traceparent:
            fields["trace_id"] = exchange.traceparent[3:35]
            fields["span_id"] = exchange.traceparent[36:52]
        replaced = exchange.headers.get(CORRELATION_HEADER)
        if replaced is not None and replaced != exchange.correlation_id.encode():
            fields["replaced_correlation_id"] = repr(replaced[:_LOGGED_CHARS_MAX])[2:-1]
        write_line(self._level(exchange, duration_s), fields)

    @staticmethod
    def _level(exchange: HttpExchange, duration_s: float) -> str:
        if exchange.status == errors.INTERNAL_STATUS or exchange.error_code == "INTERNAL":
            return "error"
        if exchange.is_quiet:
            return "debug"
        is_outage = exchange.status > errors.INTERNAL_STATUS
        is_slow = lines.is_slow(duration_s) and not exchange.is_streamed
        return "warning" if is_outage or is_slow else "info"


def _end_span(exchange: HttpExchange) -> Exemplar | None:
    """End the request's span; answers the trace that its duration is an example of."""
    span = exchange.span
    if span is None or not span.is_recorded:
        return None
    span.set("http.response.status_code", exchange.status)
    span.set("girih.correlation_id", exchange.correlation_id)
    if exchange.tenant:
        span.set("girih.tenant", exchange.tenant)
    if exchange.error_code:
        span.set("girih.reason", exchange.error_code)
    span.end(str(exchange.status) if exchange.status >= errors.INTERNAL_STATUS else "")
    return {"trace_id": exchange.traceparent[3:35], "span_id": exchange.traceparent[36:52]}


def _captured(match: Match[Endpoint]) -> Captured:
    try:
        return match.captured()
    except UnicodeDecodeError:
        raise errors.malformed_request() from None


def _by_name(pairs: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Several headers of one name are one with commas, as HTTP has it."""
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    headers.clear()
    for name, value in pairs:
        headers[name] = b"%b, %b" % (headers[name], value) if name in headers else value
    return headers


def _header_if(is_good: Callable[[str], bool], exchange: HttpExchange, name: bytes) -> str:
    """What a header says that may be passed on; empty where there is none."""
    value = exchange.headers.get(name)
    if value is None:
        return ""
    text = value.decode("latin-1")
    return text if is_good(text) else ""


def _seconds(text: bytes) -> float:
    number = text.decode("latin-1")
    if not _is_seconds(number) or float(number) <= 0:
        raise ValidationError([("X-Request-Timeout", "must be a number of seconds above 0")])
    return float(number)
