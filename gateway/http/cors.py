"""What pages of other sites may do here: nothing, unless an operator names their origin.

Cookies and other credentials a browser adds by itself play no part: a page has to be given
a token, and a page of another origin is never allowed to send credentials.
"""

from collections.abc import Collection, Sequence

from gateway.http.exchange import Headers, HttpExchange

ANY = "*"

_ORIGIN = b"origin"
_REQUESTED_METHOD = b"access-control-request-method"
_REQUEST_HEADERS = (
    b"authorization, content-type, last-event-id, traceparent, x-causation-id, x-correlation-id, "
    b"x-request-timeout"
)
_ANSWER_HEADERS = (
    b"ratelimit-limit, ratelimit-policy, ratelimit-remaining, ratelimit-reset, retry-after, "
    b"www-authenticate, x-correlation-id"
)
_PREFLIGHT_AGE_S = b"600"
_VARY = (b"vary", b"origin")


class Cors:
    """Tells browsers which pages may read our answers."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, exchange: HttpExchange) -> Headers:
        """For every answer to this request."""
        if not self._origins:
            return ()
        if not self._allows(exchange):
            return (_VARY,)
        return (
            _VARY,
            (b"access-control-allow-origin", self._allowed_origin(exchange)),
            (b"access-control-expose-headers", _ANSWER_HEADERS),
        )

    def preflight(self, exchange: HttpExchange, methods: Sequence[str]) -> Headers:
        """What a browser that asks beforehand is told beside; nothing for everybody else."""
        asks = exchange.method == "OPTIONS" and _REQUESTED_METHOD in exchange.headers
        if not asks or not self._allows(exchange):
            return ()
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_AGE_S),
        )

    def _allows(self, exchange: HttpExchange) -> bool:
        origin = exchange.headers.get(_ORIGIN)
        return origin is not None and (self._any or origin in self._origins)

    def _allowed_origin(self, exchange: HttpExchange) -> bytes:
        return ANY.encode() if self._any else exchange.headers[_ORIGIN]
