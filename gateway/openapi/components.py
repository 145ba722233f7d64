"""What the routes of the OpenAPI document share and the contract does not tell: said here once.

The ways to prove who calls, the headers, and the gateway's own schemas.
"""

from collections.abc import Iterable
from typing import Any, Final

from gateway.accounts.policy.roles import KEY_SCOPES
from gateway.accounts.tickets.ticket import QUERY_PARAMETER

Json = dict[str, Any]

ERROR: Final = "ErrorResponse"
"""The schema of every failure."""
CORRELATION_ID_EXAMPLE: Final = "0d4f7c52c8a64e7d9b1f3f6e2a5b8c91"
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
_KEY: Final = "ApiKey"
_FOR_STREAMS: Final = "StreamTicket"


def security(scope: str, *, takes_ticket: bool = False) -> list[Json]:
    """What a caller needs, any one of these. No entry means nothing."""
    if scope == PUBLIC:
        return []
    scopes = [] if scope == SIGNED_IN else [scope]
    takes = {_FOR_STREAMS: takes_ticket, _KEY: KEY_SCOPES.issuperset(scopes)}
    return [{name: scopes} for name in SECURITY_SCHEMES if takes.get(name, True)]


def response(description: str, content: Json, headers: Iterable[str] = ()) -> Json:
    """An answer with the headers that all have, and others by their names in `HEADERS`."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (CORRELATION_ID, *headers)}
    return {"description": description, "headers": named, "content": content}


def json_content(schema: Json, example: object = None) -> Json:
    shown = {"schema": schema} | ({} if example is None else {"example": example})
    return {"application/json": shown}


CORRELATION_ID: Final = "X-Correlation-ID"

RATE_LIMIT_HEADERS: Final = (
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit-Policy",
)
"""On the answers of calls that are counted."""

HEADERS: Final[Json] = {
    CORRELATION_ID: {
        "description": "Names the request in logs, events and errors: the caller's when it is "
        "well-formed, else a fresh one. On every answer.",
        "schema": {"type": "string"},
        "required": True,
        "example": CORRELATION_ID_EXAMPLE,
    },
    "RateLimit-Limit": {
        "description": "How many calls a minute the limit allows that is nearest.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Remaining": {
        "description": "How many are left of them.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "In how many seconds all are back.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Policy": {
        "description": "Every limit that applies: how many calls, and in how many seconds (`w`).",
        "schema": {"type": "string"},
        "example": "600;w=60",
    },
    "Retry-After": {
        "description": "In how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to prove who calls, and what was wrong with the attempt.",
        "schema": {"type": "string"},
    },
}


def header_parameters() -> Json:
    return {
        "CorrelationId": header(
            CORRELATION_ID,
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
    """The gateway's own, by name. Each object has a name, since generators need one for it."""
    return {
        ERROR: _ERROR_RESPONSE,
        "ErrorBody": _ERROR_BODY,
        "ErrorDetails": _ERROR_DETAILS,
        "FieldViolation": _FIELD_VIOLATION,
        "Health": _HEALTH,
        "PartHealth": _PART_HEALTH,
        "Liveness": _LIVENESS,
        "DatabaseHealth": _DATABASE_HEALTH,
        "KeySet": _KEY_SET,
    }


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_ERROR_RESPONSE: Final[Json] = {
    "type": "object",
    "description": "Every failure, on every route.",
    "properties": {
        "error": reference("ErrorBody"),
        "timestamp": {"type": "string", "format": "date-time"},
    },
    "required": ["error", "timestamp"],
}

_ERROR_BODY: Final[Json] = {
    "type": "object",
    "description": "What failed, and why.",
    "properties": {
        "code": {"type": "string", "examples": ["INVALID_ARGUMENT", "NOT_FOUND", "ABORTED"]},
        "message": {"type": "string", "description": "For people; may change."},
        "details": reference("ErrorDetails"),
        "correlation_id": {
            "type": "string",
            "description": "That of the request, as in `X-Correlation-ID`.",
        },
    },
    "required": ["code", "message", "details", "correlation_id"],
}

_ERROR_DETAILS: Final[Json] = {
    "type": "object",
    "description": "What programs need. More keys than these are possible.",
    "properties": {
        "reason": {"type": "string", "description": "What happened; never changes."},
        "domain": {"type": "string", "description": "Who says so."},
        "metadata": {
            "type": "object",
            "description": "The names and numbers that belong to the reason.",
            "additionalProperties": {"type": "string"},
        },
        "violations": {"type": "array", "items": reference("FieldViolation")},
        "retryAfterS": {"type": "number", "description": "When to try again, in seconds."},
    },
    "required": ["reason"],
}

_FIELD_VIOLATION: Final[Json] = {
    "type": "object",
    "description": "A field of the request that does not fit the contract.",
    "properties": {
        "field": {"type": "string", "description": "Its path, such as `events[3].id`."},
        "description": {"type": "string", "description": "What it must be."},
    },
    "required": ["field", "description"],
}

_HEALTH: Final[Json] = {
    "type": "object",
    "description": "The gateway, as good as its worst part, and its parts.",
    "properties": {
        "status": {"type": "string", "enum": ["SERVING", "NOT_SERVING", "DRAINING"]},
        "parts": {"type": "object", "additionalProperties": reference("PartHealth")},
    },
    "required": ["status", "parts"],
}

_PART_HEALTH: Final[Json] = {
    "type": "object",
    "description": "A service behind the gateway.",
    "properties": {
        "status": {"type": "string", "enum": ["SERVING", "NOT_SERVING", "UNREACHABLE"]},
        "latencyMs": {"type": "number", "description": "How long its answer took."},
    },
    "required": ["status", "latencyMs"],
}

_LIVENESS: Final[Json] = {
    "type": "object",
    "description": "The gateway answers.",
    "properties": {"status": {"type": "string", "enum": ["SERVING"]}},
    "required": ["status"],
}

_DATABASE_HEALTH: Final[Json] = {
    "type": "object",
    "description": "Whether the event store reaches its database.",
    "properties": {"reachable": {"type": "boolean"}},
    "required": ["reachable"],
}

_KEY_SET: Final[Json] = {
    "type": "object",
    "description": "The public keys of access tokens, as RFC 7517 has them.",
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
    "required": ["keys"],
}
