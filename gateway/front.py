"""The door: every HTTP request comes in here, and every answer goes out.

Gives each request its correlation id, finds its route, turns whatever goes wrong into the
one error body, and writes the one log line and the numbers. Knows nothing of gRPC.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

from gateway import errors
from gateway.errors import CLIENT_CLOSED_REQUEST, HttpError
from gateway.exchange import ClientGone, Exchange, Receive, Scope, Send
from gateway.http_metrics import HttpMetrics
from gateway.lifecycle import Lifecycle
from gateway.refusal import Refused
from gateway.rules import Captured, Routes
from gateway.settings import Settings
from gateway.transcode import Endpoint
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.logging import get_logger, write_line

_log = get_logger("gateway")

App = Callable[[Scope, Receive, Send], Awaitable[None]]

TIMEOUT_HEADER: Final = b"x-request-timeout"
TENANT_HEADER: Final = b"x-tenant-id"
CORRELATION_HEADER: Final = b"x-correlation-id"

SLOW_REQUEST_S = 2.0
_LOGGED_CHARS_MAX = 200

_TENANT_RULE = "must be 1 to 63 of a-z 0-9 -, the first not a hyphen, and given once"

_is_seconds = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?", re.ASCII).fullmatch


class Site(Protocol):
    """The pages of the gateway itself: everything that is no route of the contract."""

    @property
    def paths(self) -> Collection[str]: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@dataclass
class Front:
    """An ASGI application."""

    routes: Routes[Endpoint]
    site: Site
    settings: Settings
    lifecycle: Lifecycle
    metrics: HttpMetrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        started_s = time.monotonic()
        exchange = Exchange(scope, receive, send, _by_name(scope["headers"]))
        self._identify(exchange)
        self.metrics.in_flight_count += 1
        try:
            await self._answer(exchange, started_s)
        finally:
            self.metrics.in_flight_count -= 1
            self._finish(exchange, time.monotonic() - started_s)

    async def _answer(self, exchange: Exchange, started_s: float) -> None:
        """Answer, whatever happens."""
        try:
            await self._serve(exchange, started_s)
        except Refused as error:
            await exchange.fail(errors.invalid(error))
        except HttpError as error:
            await exchange.fail(error)
        except ClientGone:
            exchange.status = exchange.status or CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # The server waits no longer for what runs while it stops.
            if not self.lifecycle.stopping.is_set():
                raise
            await exchange.fail(errors.shutting_down())
        except Exception:
            _log.exception("a request failed: this is a bug", route=exchange.route)
            if exchange.status:
                exchange.error_code = "INTERNAL"
                raise
            await exchange.fail(errors.internal())

    async def _serve(self, exchange: Exchange, started_s: float) -> None:
        self._check_limits(exchange)
        found = self._find(exchange)
        if found is not None:
            endpoint, captured = found
            exchange.route = endpoint.rule.template.text
            self._enter(exchange, started_s, endpoint.timeout_s)
            await endpoint(exchange, captured)
        elif exchange.scope["path"] in self.site.paths:
            exchange.route = exchange.scope["path"]
            exchange.is_quiet = True
            correlation.enter(Call(exchange.correlation_id))
            await self.site(exchange.scope, exchange.receive, exchange.send_event)
        else:
            await self._no_endpoint(exchange)

    def _check_limits(self, exchange: Exchange) -> None:
        bytes_max = self.settings.header_bytes_max
        size = sum(map(len, chain.from_iterable(exchange.scope["headers"])))
        if size + len(exchange.raw_path) + len(exchange.query_string) > bytes_max:
            raise errors.headers_too_large(bytes_max)
        if self.metrics.in_flight_count > self.settings.request_count_max:
            raise errors.too_busy()

    def _find(self, exchange: Exchange) -> tuple[Endpoint, Captured] | None:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        try:
            return self.routes.find(method, exchange.raw_path)
        except UnicodeDecodeError:
            raise errors.malformed_request() from None

    async def _no_endpoint(self, exchange: Exchange) -> None:
        methods = self.routes.methods_of(exchange.raw_path)
        if not methods:
            raise errors.route_not_found()
        allowed = sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})
        if exchange.method != "OPTIONS":
            raise errors.method_not_allowed(allowed)
        await exchange.respond(204, b"", headers=[(b"allow", ", ".join(allowed).encode())])

    def _identify(self, exchange: Exchange) -> None:
        """Whose request this is. No other header of a client ever becomes metadata."""
        given = exchange.headers.get(CORRELATION_HEADER, b"").decode("latin-1")
        is_taken = correlation.well_formed(given)
        exchange.correlation_id = given if is_taken else correlation.fresh()
        tenant = exchange.headers.get(TENANT_HEADER, b"").decode("latin-1")
        if self._trusts_tenant_header and correlation.well_formed_tenant(tenant):
            exchange.tenant = tenant

    @property
    def _trusts_tenant_header(self) -> bool:
        return self.settings.environment == "development"

    def _enter(self, exchange: Exchange, started_s: float, timeout_s: float) -> None:
        """Every call made for this request is made in its name, and ends by its deadline."""
        tenant = exchange.tenant
        if self._trusts_tenant_header and TENANT_HEADER in exchange.headers and not tenant:
            raise Refused([("X-Tenant-ID", _TENANT_RULE)])
        timeout = exchange.headers.get(TIMEOUT_HEADER)
        if timeout is not None:
            timeout_s = min(timeout_s, _seconds(timeout))
        traceparent = exchange.headers.get(b"traceparent", b"").decode("latin-1")
        if not correlation.well_formed_traceparent(traceparent):
            traceparent = ""
        call = Call(exchange.correlation_id, "", tenant, traceparent, started_s + timeout_s)
        correlation.enter(call)

    def _finish(self, exchange: Exchange, duration_s: float) -> None:
        method, route, status = exchange.method, exchange.route, exchange.status
        self.metrics.finished(method, route, status, duration_s)
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
        if exchange.error_code:
            fields["code"] = exchange.error_code
        replaced = exchange.headers.get(CORRELATION_HEADER)
        if replaced is not None and replaced != exchange.correlation_id.encode():
            fields["replaced_correlation_id"] = repr(replaced[:_LOGGED_CHARS_MAX])[2:-1]
        write_line(self._level(exchange, duration_s), fields)

    @staticmethod
    def _level(exchange: Exchange, duration_s: float) -> str:
        if exchange.status == errors.INTERNAL_STATUS or exchange.error_code == "INTERNAL":
            return "error"
        if exchange.is_quiet:
            return "debug"
        is_outage = exchange.status > errors.INTERNAL_STATUS
        is_slow = duration_s > SLOW_REQUEST_S and not exchange.is_streamed
        return "warning" if is_outage or is_slow else "info"


def _by_name(pairs: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Several headers of one name are one with commas, as HTTP has it."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found.clear()
    for name, value in pairs:
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def _seconds(text: bytes) -> float:
    shown = text.decode("latin-1")
    if not _is_seconds(shown) or float(shown) <= 0:
        raise Refused([("X-Request-Timeout", "must be a number of seconds above 0")])
    return float(shown)
