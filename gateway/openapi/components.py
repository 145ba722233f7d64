"""What every route of the OpenAPI document shares, and the gateway's own: said here once.

The error body, the statuses and headers of all answers, the ways to prove who calls, and the
routes that are no rpcs. Knows nothing of the contract.
"""

from collections.abc import Iterator
from typing import Any, Final

from gateway.accounts.tickets.ticket import QUERY_PARAMETER
from gateway.contract.rules import Rule

Json = dict[str, Any]

HEALTH_TAG: Final = "health"
PUBLIC: Final = "public"
SIGNED_IN: Final = "signed-in"

SECURITY_SCHEMES: Final[Json] = {
    "AccessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` that `/auth/login` answers. It is valid for some "
        "minutes; `/auth/refresh` gets the next one. The roles listed beside it on a route are "
        "the scopes that it must have.",
    },
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "girih_...",
        "description": "The `secret` of an API key, for machines, in place of a token. It has "
        "the scopes that it was made with.",
    },
    "StreamTicket": {
        "type": "apiKey",
        "in": "query",
        "name": QUERY_PARAMETER,
        "description": "For a browser's `EventSource`, which can send no header: the ticket in "
        "the URL that `/auth/tickets` answers. It opens that one URL, once.",
    },
}
_FOR_STREAMS: Final = "StreamTicket"

_STATUSES: Final[dict[int, tuple[str, str]]] = {
    400: ("BadRequest", "The request does not fit the contract. Do not retry unchanged."),
    401: (
        "Unauthenticated",
        "The request does not prove who makes it. `WWW-Authenticate` says what is wanted.",
    ),
    403: (
        "PermissionDenied",
        "The token does not allow this: `SCOPE_MISSING` names the scope. Do not retry.",
    ),
    404: ("NotFound", "There is no such thing, or it is not the caller's."),
    405: ("MethodNotAllowed", "The route takes other methods, which `Allow` lists."),
    408: ("BodyTooSlow", "The body took too long to arrive."),
    413: ("TooLarge", "The body is larger than is taken."),
    415: ("UnsupportedMediaType", "The body is of a type that is not taken, or is compressed."),
    429: (
        "TooManyRequests",
        "A limit is reached (`RATE_LIMITED`, `QUOTA_EXCEEDED`). Retry after `Retry-After`.",
    ),
    431: ("HeadersTooLarge", "Request line and headers are larger than is taken."),
    500: ("Internal", "A bug of ours. Nothing of it is told; the correlation id finds it."),
    501: ("Unimplemented", "The service behind the gateway is older than the gateway."),
    502: ("BadGateway", "What the service behind the gateway answered makes no sense."),
    503: ("Unavailable", "Something is away. Retry the same request after `Retry-After`."),
    504: ("TimeIsUp", "The call took longer than it may. Whether it had an effect is not known."),
}

_ALWAYS = (400, 401, 429, 431, 500, 501, 502, 503, 504)
_WITH_BODY = (408, 413, 415)


def statuses(rule: Rule, scope: str) -> Iterator[int]:
    """Which failures a route may answer with, beside what its comments promise."""
    yield from _ALWAYS
    if scope not in (PUBLIC, SIGNED_IN):
        yield 403
    if rule.body:
        yield from _WITH_BODY
    if rule.template.variables:
        yield 404


def shared(status: int) -> Json:
    """The response that all routes tell for a status."""
    return {"$ref": f"#/components/responses/{_STATUSES[status][0]}"}


def words(status: int) -> str:
    return _STATUSES[status][1] if status in _STATUSES else ""


def responses() -> Json:
    return {name: error_response(text, status) for status, (name, text) in _STATUSES.items()}


def security(scope: str, *, takes_ticket: bool = False) -> list[Json]:
    """What a caller needs, any one of these. No entry means nothing."""
    if scope == PUBLIC:
        return []
    scopes = [] if scope == SIGNED_IN else [scope]
    return [{name: scopes} for name in SECURITY_SCHEMES if takes_ticket or name != _FOR_STREAMS]


def response(description: str, content: Json) -> Json:
    return {"description": description, "headers": _headers(), "content": content}


def error_response(description: str, status: int = 0) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    described = response(description, content)
    for name in _STATUS_HEADERS.get(status, ()):
        described["headers"][name] = {"$ref": f"#/components/headers/{name}"}
    return described


_STATUS_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

HEADERS: Final[Json] = {
    "X-Correlation-ID": {"description": "Names the request.", "schema": {"type": "string"}},
    "RateLimit": {
        "description": "What is left of the limit that is nearest, and when it is whole again.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "In how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to prove who calls, and what was wrong with the attempt.",
        "schema": {"type": "string"},
    },
    "Allow": {"description": "The methods that the route takes.", "schema": {"type": "string"}},
}


def _headers() -> Json:
    return {"X-Correlation-ID": {"$ref": "#/components/headers/X-Correlation-ID"}}


def header_parameters() -> Json:
    return {
        "CorrelationId": header(
            "X-Correlation-ID",
            "Names the request in answers, logs and events: 1 to 64 of A-Z a-z 0-9 . _ -. "
            "Anything else is replaced by a fresh one.",
            {"type": "string"},
        ),
        "RequestTimeout": header(
            "X-Request-Timeout",
            "The most seconds that the call may take, when fewer than the gateway allows.",
            {"type": "number", "minimum": 1, "maximum": 999_999, "examples": [2.5]},
        ),
    }


def header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def schemas() -> Json:
    violation = {
        "type": "object",
        "properties": {
            "field": {"type": "string", "description": "Its path, such as `events[3].id`."},
            "description": {"type": "string"},
        },
        "required": ["field", "description"],
    }
    details = {
        "type": "object",
        "description": "What programs need. More keys than these are possible.",
        "properties": {
            "reason": {"type": "string", "description": "What happened; never changes."},
            "domain": {"type": "string", "description": "Who says so."},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "violations": {"type": "array", "items": violation},
            "retry_after_s": {"type": "number", "description": "When to try again, in seconds."},
        },
    }
    error = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "examples": ["INVALID_ARGUMENT", "NOT_FOUND", "ABORTED"]},
            "message": {"type": "string", "description": "For people; may change."},
            "details": details,
            "correlation_id": {"type": "string"},
        },
        "required": ["code", "message", "details", "correlation_id"],
    }
    failure = {
        "type": "object",
        "description": "Every failure, on every route.",
        "properties": {"error": error, "timestamp": {"type": "string", "format": "date-time"}},
        "required": ["error", "timestamp"],
    }
    return {"Error": failure, "Health": _health_schema(), "KeySet": _KEY_SET}


def _health_schema() -> Json:
    states = ["SERVING", "NOT_SERVING", "UNREACHABLE"]
    part = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": states},
            "latency_ms": {"type": "number", "description": "How long its answer took."},
        },
        "required": ["status", "latency_ms"],
    }
    return {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["SERVING", "NOT_SERVING", "DRAINING"]},
            "parts": {"type": "object", "additionalProperties": part},
        },
        "required": ["status", "parts"],
    }


_REACHABLE: Final[Json] = {
    "type": "object",
    "properties": {"reachable": {"type": "boolean"}},
    "required": ["reachable"],
}

_KEY_SET: Final[Json] = {
    "type": "object",
    "description": "The public keys of access tokens, as RFC 7517 has them.",
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
    "required": ["keys"],
}


def health_tag() -> Json:
    return {"name": HEALTH_TAG, "description": "How the gateway and what is behind it are."}


def own_paths() -> Json:
    """The routes that are no rpcs. Nobody needs a token for them."""
    health = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    keys = {"application/jwk-set+json": {"schema": {"$ref": "#/components/schemas/KeySet"}}}
    down = response("Not all.", health)
    return {
        "/health": _path("health_report", "Every part and its state", "All serves.", health, down),
        "/health/live": _path("health_live", "The process answers", "It does.", anything),
        "/health/ready": _path(
            "health_ready", "Requests may be sent here", "They may.", anything, shared(503)
        ),
        "/health/database": _path(
            "health_database",
            "The event store reaches its database",
            "It does.",
            {"application/json": {"schema": _REACHABLE}},
            shared(503),
        ),
        "/.well-known/jwks.json": _path(
            "keys", "The public keys of access tokens", "The keys.", keys
        ),
    }


def _path(
    operation_id: str, summary: str, well: str, content: Json, down: Json | None = None
) -> Json:
    operation = {
        "operationId": operation_id,
        "summary": summary,
        "tags": [HEALTH_TAG],
        "security": [],
        "responses": {
            "200": response(well, content),
            "429": shared(429),
            "431": shared(431),
            "500": shared(500),
            "503": down or shared(503),
        },
    }
    return {"get": operation}
