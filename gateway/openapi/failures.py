"""How routes fail: by status, what the contract's comments list and what may always happen."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor

from gateway.contract.comments import errors_of, listed_errors
from gateway.contract.descriptors import Contract, scope_of
from gateway.contract.reasons import reasons_of
from gateway.contract.rules import Rule
from gateway.http.errors import HTTP_STATUSES
from gateway.openapi import components
from gateway.openapi.schemas import Schemas

Json = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """One way to fail."""

    status: int
    code: str
    reasons: Sequence[str]
    text: str
    """What it means, and what to do."""

    @property
    def line(self) -> str:
        names = "`, `".join(self.reasons)
        return f"- `{names}`: {self.text}"


@dataclass(frozen=True)
class _Status:
    """What a status always means."""

    name: str
    text: str
    example: Failure
    headers: tuple[str, ...] = ()


def _always(
    status: int, name: str, text: str, code: str, example: tuple[str, str], *headers: str
) -> tuple[int, _Status]:
    reason, message = example
    return status, _Status(name, text, Failure(status, code, [reason], message), headers)


_STATUSES: Final = dict(
    [
        _always(
            400, "BadRequest", "The request does not fit the contract. Do not retry unchanged.",
            "INVALID_ARGUMENT", ("INVALID_INPUT", "limit: must be 0 or more"),
        ),
        _always(
            401, "Unauthenticated",
            "The request does not prove who makes it. `WWW-Authenticate` says what is wanted.",
            "UNAUTHENTICATED", ("TOKEN_REQUIRED", "a token is required"), "WWW-Authenticate",
        ),
        _always(
            403, "PermissionDenied",
            "The token does not allow this: `SCOPE_MISSING` names the scope. Do not retry.",
            "PERMISSION_DENIED", ("SCOPE_MISSING", "the token does not have the scope"),
            "WWW-Authenticate",
        ),
        _always(
            404, "NotFound", "There is no such thing, or it is not the caller's.",
            "NOT_FOUND", ("ROUTE_NOT_FOUND", "there is no such route"),
        ),
        _always(
            408, "BodyTooSlow", "The body took too long to arrive.",
            "REQUEST_TIMEOUT", ("BODY_TOO_SLOW", "the body did not arrive within 30 seconds"),
        ),
        _always(
            413, "TooLarge", "The body is larger than is taken.",
            "PAYLOAD_TOO_LARGE",
            ("BODY_TOO_LARGE", "a request body must have at most 12582912 bytes"),
        ),
        _always(
            415, "UnsupportedMediaType",
            "The body is of a type that is not taken, or is compressed.",
            "UNSUPPORTED_MEDIA_TYPE",
            ("UNSUPPORTED_MEDIA_TYPE", "a request body must be application/json"),
        ),
        _always(
            429, "TooManyRequests",
            "A limit is reached (`RATE_LIMITED`, `QUOTA_EXCEEDED`). Retry after `Retry-After`.",
            "RESOURCE_EXHAUSTED", ("RATE_LIMITED", "too many calls from this user"),
            "Retry-After", *components.RATE_LIMIT_HEADERS,
        ),
        _always(
            431, "HeadersTooLarge", "Request line and headers are larger than is taken.",
            "HEADERS_TOO_LARGE",
            ("HEADERS_TOO_LARGE", "request line and headers must have at most 65536 bytes"),
        ),
        _always(
            500, "Internal", "A bug of ours. Nothing of it is told; the correlation id finds it.",
            "INTERNAL", ("INTERNAL", "internal error"),
        ),
        _always(
            501, "Unimplemented", "The service behind the gateway is older than the gateway.",
            "UNIMPLEMENTED", ("UNIMPLEMENTED", "the events service does not know this call yet"),
        ),
        _always(
            502, "BadGateway", "What the service behind the gateway answered makes no sense.",
            "BAD_GATEWAY",
            (
                "SERVICE_NOT_UNDERSTOOD",
                "what answers in place of the events service cannot be understood",
            ),
        ),
        _always(
            503, "Unavailable", "Something is away. Retry the same request after `Retry-After`.",
            "UNAVAILABLE",
            (
                "SERVICE_UNAVAILABLE",
                "the events service cannot be reached now; retry the same call",
            ),
            "Retry-After",
        ),
        _always(
            504, "TimeIsUp",
            "The call took longer than it may. Whether it had an effect is not known: retry it with"
            " the same ids after `Retry-After`, with more time, or ask for less.",
            "DEADLINE_EXCEEDED",
            (
                "DEADLINE_EXCEEDED",
                "the call took longer than it may; whether it had an effect is not known",
            ),
            "Retry-After",
        ),
    ]
)  # fmt: skip

_ALWAYS: Final = (400, 401, 429, 431, 500, 501, 502, 503, 504)
_WITH_BODY: Final = (408, 413, 415)


def shared(status: int) -> Json:
    """The response that routes have for a status of which they have nothing to say."""
    return {"$ref": f"#/components/responses/{_STATUSES[status].name}"}


def responses() -> Json:
    """Those that `shared` refers to."""
    return {one.name: _response(one.text, one.example) for one in _STATUSES.values()}


def failures(contract: Contract, schemas: Schemas, rule: Rule) -> Json:
    """The responses of a route that fails, by status."""
    scope = scope_of(rule.method)
    by_status: dict[int, list[Failure]] = {status: [] for status in _statuses(rule, scope)}
    for failure in _promised(contract, rule.method):
        if scope == components.PUBLIC and _OF_TOKENS.issuperset(failure.reasons):
            continue
        described = Failure(
            failure.status, failure.code, failure.reasons, schemas.words(failure.text)
        )
        by_status.setdefault(failure.status, []).append(described)
    return {str(status): _documented(status, by_status[status]) for status in sorted(by_status)}


_OF_TOKENS: Final = frozenset({"TOKEN_REQUIRED", "TOKEN_INVALID", "TOKEN_EXPIRED", "SCOPE_MISSING"})
"""Reasons that no route without a token answers."""


def _statuses(rule: Rule, scope: str) -> Iterator[int]:
    """Which a route may fail with, beside what its comments promise."""
    yield from _ALWAYS
    if scope not in (components.PUBLIC, components.SIGNED_IN):
        yield 403
    if rule.body:
        yield from _WITH_BODY
    if rule.template.variables:
        yield 404


def _documented(status: int, failures: Sequence[Failure]) -> Json:
    """What a status means on one route: what its comments say, or else what it always means."""
    if not failures:
        return shared(status)
    always = _STATUSES.get(status)
    text = "\n".join(dict.fromkeys(failure.line for failure in failures))
    return _response(f"{always.text if always else ''}\n\n{text}".strip(), failures[0])


def _response(description: str, example: Failure) -> Json:
    always = _STATUSES.get(example.status)
    content = components.json_content(components.reference(components.ERROR), _example(example))
    return components.response(description, content, always.headers if always else ())


_EXAMPLE_TIME: Final = "2026-11-29T09:30:00.000Z"
_RETRIED: Final = (429, 503, 504)


def _example(failure: Failure) -> Json:
    details: Json = {"reason": failure.reasons[0]}
    if failure.reasons[0] == "INVALID_INPUT":
        field, _, description = _STATUSES[400].example.text.partition(": ")
        message = f"{field}: {description}"
        details["violations"] = [{"field": field, "description": description}]
    else:
        message = re.split(r"[.;:](?:\s|$)", failure.text, maxsplit=1)[0]
    if failure.status in _RETRIED:
        details["retryAfterS"] = 1.0
    error = {
        "code": failure.code,
        "message": message,
        "details": details,
        "correlation_id": components.CORRELATION_ID_EXAMPLE,
    }
    return {"error": error, "timestamp": _EXAMPLE_TIME}


def _promised(contract: Contract, method: MethodDescriptor) -> Iterator[Failure]:
    """What the comments of the rpc list, then those of its package."""
    assert method.containing_service is not None, "every method is of a service"
    statuses = {reason.name: reason.http_status for reason in reasons_of(contract)}
    for listed in [
        *errors_of(contract, method),
        *listed_errors(contract.comment(method.containing_service.file.package)),
    ]:
        # That of the reason, which the contract may say, and else that of the code.
        status = statuses.get(listed.reasons[0]) or HTTP_STATUSES[grpc.StatusCode[listed.code]]
        yield Failure(status, listed.code, listed.reasons, listed.text)
