"""The one table from failures to HTTP, and the body that tells them on every route."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any

import grpc
import grpc.aio
import orjson
from google.protobuf.any_pb2 import Any as AnyMessage

from gateway.refusal import Refused
from services.plumbing.grpc_errors import RemoteError, from_rpc_error

HTTP_STATUSES: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,  # never retry unchanged
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,  # read again, decide again, retry
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,  # retry later
    grpc.StatusCode.UNIMPLEMENTED: 501,  # the service is older than the gateway
    grpc.StatusCode.UNAVAILABLE: 503,  # retry the same call
    # We ourselves cancel only for clients that have gone: what is left is a service that
    # gave up a call while it stopped.
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
}

INTERNAL_STATUS = 500

CLIENT_CLOSED_REQUEST = 499
"""What the log says of a client that went away before its answer. Never sent."""

INTERNAL_MESSAGE = "internal error"
_RETRY_AFTER_DEFAULT_S = 1.0

DetailEncoder = Callable[[AnyMessage], tuple[str, Any] | None]
"""Shows a service's own error detail as a name and a JSON value, or nothing."""


@dataclass
class HttpError(Exception):
    """A failure as the client is told it."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def closes_connection(self) -> bool:
        return (b"connection", b"close") in self.headers

    def body(self, correlation_id: str) -> bytes:
        """JSON, the same on every route."""
        return orjson.dumps(self.as_json(correlation_id))

    def as_json(self, correlation_id: str) -> dict[str, Any]:
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "details": self.details,
                "correlation_id": correlation_id,
            },
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        }


_CLOSE = ((b"connection", b"close"),)


def route_not_found() -> HttpError:
    return HttpError(404, "NOT_FOUND", "there is no such route", {"reason": "ROUTE_NOT_FOUND"})


def method_not_allowed(allowed: list[str]) -> HttpError:
    return HttpError(
        405,
        "METHOD_NOT_ALLOWED",
        f"this route takes {', '.join(allowed)}",
        {"reason": "METHOD_NOT_ALLOWED", "allowed": allowed},
        ((b"allow", ", ".join(allowed).encode()),),
    )


def body_too_large(bytes_max: int) -> HttpError:
    return HttpError(
        413,
        "PAYLOAD_TOO_LARGE",
        f"a request body has at most {bytes_max} bytes",
        {"reason": "BODY_TOO_LARGE", "bytes_max": bytes_max},
        _CLOSE,
    )


def body_too_slow(timeout_s: float) -> HttpError:
    return HttpError(
        408,
        "REQUEST_TIMEOUT",
        f"the body did not arrive within {timeout_s:g} seconds",
        {"reason": "BODY_TOO_SLOW"},
        _CLOSE,
    )


def unsupported_media_type(message: str) -> HttpError:
    return HttpError(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        message,
        {"reason": "UNSUPPORTED_MEDIA_TYPE"},
        _CLOSE,
    )


def headers_too_large(bytes_max: int) -> HttpError:
    return HttpError(
        431,
        "HEADERS_TOO_LARGE",
        f"request line and headers have at most {bytes_max} bytes",
        {"reason": "HEADERS_TOO_LARGE", "bytes_max": bytes_max},
        _CLOSE,
    )


def malformed_request() -> HttpError:
    return HttpError(
        400,
        "INVALID_ARGUMENT",
        "the request is not well-formed HTTP",
        {"reason": "MALFORMED_REQUEST"},
        _CLOSE,
    )


def too_busy() -> HttpError:
    return unavailable("the gateway serves as many requests as it can", "GATEWAY_BUSY")


def shutting_down() -> HttpError:
    return unavailable("the gateway is shutting down", "GATEWAY_STOPPING")


def internal() -> HttpError:
    """A bug. Nothing of it is told."""
    return HttpError(500, "INTERNAL", INTERNAL_MESSAGE, {"reason": "INTERNAL"})


def invalid(error: Refused) -> HttpError:
    """A request that does not fit the contract."""
    return _invalid("INVALID_INPUT", error.violations)


def from_call(
    error: grpc.aio.AioRpcError, service_label: str, detail_encoder: DetailEncoder
) -> HttpError:
    """What a service, or the way to it, answered. `service_label` is its name for people."""
    remote = from_rpc_error(error)
    status = HTTP_STATUSES.get(remote.code, 500)
    if not remote.reason:
        return _from_transport(remote, service_label)
    if status == INTERNAL_STATUS:
        return internal()
    if remote.violations:
        shown = [(_json_path(bad.field), bad.description) for bad in remote.violations]
        return _invalid(remote.reason, shown, {**_told(remote), **_own(remote, detail_encoder)})
    details = {**_told(remote), **_own(remote, detail_encoder)}
    told = HttpError(status, remote.code.name, remote.message, details)
    # A service that says nothing of a retry means that the same call fails again.
    return told if remote.retry_after_s is None else _retryable(told, remote.retry_after_s)


def _invalid(
    reason: str, violations: list[tuple[str, str]], details: Mapping[str, Any] | None = None
) -> HttpError:
    path, description = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    message = f"{path}: {description}{more}" if path else f"{description}{more}"
    shown = [{"field": path, "description": description} for path, description in violations]
    told = {**(details or {}), "reason": reason, "violations": shown}
    return HttpError(400, "INVALID_ARGUMENT", message, told)


def _told(remote: RemoteError) -> dict[str, Any]:
    details: dict[str, Any] = {"reason": remote.reason, "domain": remote.domain}
    if remote.metadata:
        details["metadata"] = dict(remote.metadata)
    return details


def _own(remote: RemoteError, encode: DetailEncoder) -> dict[str, Any]:
    shown = (encode(detail) for detail in remote.details)
    return dict(pair for pair in shown if pair is not None)


def _from_transport(remote: RemoteError, label: str) -> HttpError:
    """Said by gRPC itself, in words that may hold addresses: ours are told instead."""
    code = remote.code
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in remote.message:
        return _too_large(remote, label)
    message, reason = _TRANSPORT_WORDS.get(code, (INTERNAL_MESSAGE, "INTERNAL"))
    status = HTTP_STATUSES.get(code, 500)
    name = "INTERNAL" if status == INTERNAL_STATUS else code.name
    if code == grpc.StatusCode.CANCELLED:
        name = grpc.StatusCode.UNAVAILABLE.name
    error = HttpError(status, name, message.format(label=label), {"reason": reason})
    return _retryable(error, remote.retry_after_s)


_REQUEST_TOO_LARGE = ("CLIENT: Sent message", "SERVER: Received message")


def _too_large(remote: RemoteError, label: str) -> HttpError:
    if not remote.message.startswith(_REQUEST_TOO_LARGE):
        # It was the answer, which nobody could know from the request.
        return internal()
    message = f"the request is larger than the {label} service takes"
    return HttpError(
        413,
        "PAYLOAD_TOO_LARGE",
        message,
        {"reason": "MESSAGE_TOO_LARGE"},
    )


_TRANSPORT_WORDS = {
    grpc.StatusCode.UNAVAILABLE: (
        "the {label} service cannot be reached now; retry the same call",
        "SERVICE_UNAVAILABLE",
    ),
    grpc.StatusCode.CANCELLED: (
        "the {label} service gave the call up; retry the same call",
        "SERVICE_UNAVAILABLE",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "the call took longer than it may; whether it had an effect is not known",
        "DEADLINE_EXCEEDED",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        "the {label} service has as much to do as it takes",
        "SERVICE_BUSY",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        "the {label} service does not know this call yet",
        "UNIMPLEMENTED",
    ),
    grpc.StatusCode.UNAUTHENTICATED: ("the caller is not known", "UNAUTHENTICATED"),
    grpc.StatusCode.PERMISSION_DENIED: ("the caller may not do this", "PERMISSION_DENIED"),
    grpc.StatusCode.NOT_FOUND: ("there is no such thing", "NOT_FOUND"),
    grpc.StatusCode.INVALID_ARGUMENT: ("the request is not valid", "INVALID_INPUT"),
}


def unavailable(message: str, reason: str, details: Mapping[str, Any] | None = None) -> HttpError:
    """An outage: the same request may succeed later."""
    told = {**(details or {}), "reason": reason}
    return _retryable(HttpError(503, "UNAVAILABLE", message, told), None)


_RETRIED = frozenset({429, 503})


def _retryable(error: HttpError, retry_after_s: float | None) -> HttpError:
    """Tell when to come back, in seconds as exact as the service said and as HTTP can."""
    if error.status not in _RETRIED:
        return error
    delay_s = _RETRY_AFTER_DEFAULT_S if retry_after_s is None else retry_after_s
    error.details = {**error.details, "retry_after_s": delay_s}
    error.headers = (*error.headers, (b"retry-after", str(max(1, ceil(delay_s))).encode()))
    return error


_proto_segment = re.compile(r"[a-z][a-z0-9_]*(\[[^\]]*\])?").fullmatch


def _json_path(proto_path: str) -> str:
    """`events[3].schema_version` as `events[3].schemaVersion`. Other texts stay as they are."""
    segments = proto_path.split(".")
    if not all(_proto_segment(segment) for segment in segments):
        return proto_path
    return ".".join(_camel(segment) for segment in segments)


def _camel(segment: str) -> str:
    name, bracket, rest = segment.partition("[")
    first, *words = name.split("_")
    return first + "".join(word.capitalize() for word in words) + bracket + rest
