"""The one table from failures to HTTP, and the body that tells them on every route."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import grpc
import grpc.aio
import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2

from gateway.transcoding.validation import ValidationError
from girih.rules.violations import first_of
from girih.status_details import MESSAGE_TOO_LARGE
from services.plumbing.auth.tokens import TokenInvalid
from services.plumbing.errors import InvalidInput, Scalar, ServiceError
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.policy import GATEWAY

HTTP_STATUSES: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,  # never retry unchanged
    # Well-formed and understood, and not to be had as things are: 422 tells that apart from
    # a request that nobody can make sense of.
    grpc.StatusCode.FAILED_PRECONDITION: 422,
    grpc.StatusCode.OUT_OF_RANGE: 422,
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

FieldNames = Callable[[str], str]
"""From a field's path in proto names to the same in JSON names."""


def _same(path: str) -> str:
    return path


def _nothing(_detail: AnyMessage) -> None:
    return None


@dataclass
class HttpError(Exception):
    """A failure as the client is told it."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()

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
        f"a request body must have at most {bytes_max} bytes",
        {"reason": "BODY_TOO_LARGE", "bytesMax": bytes_max},
        _CLOSE,
    )


def line_too_large(bytes_max: int) -> HttpError:
    return HttpError(
        413,
        "PAYLOAD_TOO_LARGE",
        f"a line of the request must have at most {bytes_max} bytes",
        {"reason": "LINE_TOO_LARGE", "bytesMax": bytes_max},
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
        f"request line and headers must have at most {bytes_max} bytes",
        {"reason": "HEADERS_TOO_LARGE", "bytesMax": bytes_max},
        _CLOSE,
    )


def malformed_request(message: str = "the request is not well-formed HTTP") -> HttpError:
    return HttpError(400, "INVALID_ARGUMENT", message, {"reason": "MALFORMED_REQUEST"}, _CLOSE)


def http_version_not_supported() -> HttpError:
    return HttpError(
        505,
        "HTTP_VERSION_NOT_SUPPORTED",
        "the version of HTTP must be 1.1 or 1.0",
        {"reason": "HTTP_VERSION_NOT_SUPPORTED"},
        _CLOSE,
    )


def not_implemented(message: str) -> HttpError:
    """Well-formed HTTP that asks for what is not done here."""
    return HttpError(501, "UNIMPLEMENTED", message, {"reason": "NOT_IMPLEMENTED"}, _CLOSE)


def unexpected_body() -> HttpError:
    return HttpError(
        400, "INVALID_ARGUMENT", "this route takes no body", {"reason": "UNEXPECTED_BODY"}, _CLOSE
    )


def no_answer() -> HttpError:
    """The service is known to be in trouble, and was not waited for any longer."""
    message = _TRANSPORT_WORDS[grpc.StatusCode.DEADLINE_EXCEEDED][0]
    error = HttpError(504, "DEADLINE_EXCEEDED", message, {"reason": "DEADLINE_EXCEEDED"})
    return _retryable(error, None)


def too_busy(retry_after_s: float | None = None) -> HttpError:
    message = "the gateway serves as many requests as it can"
    return unavailable(message, "GATEWAY_BUSY", retry_after_s=retry_after_s)


def bodies_busy() -> HttpError:
    """There is no memory for the rest of a body."""
    error = unavailable("the gateway holds as many request bodies as it can", "BODIES_BUSY")
    error.headers = (*error.headers, *_CLOSE)
    return error


def shutting_down() -> HttpError:
    return unavailable("the gateway is shutting down", "GATEWAY_STOPPING")


def internal() -> HttpError:
    """A bug. Nothing of it is told."""
    return HttpError(500, "INTERNAL", INTERNAL_MESSAGE, {"reason": "INTERNAL"})


def invalid(error: ValidationError) -> HttpError:
    """A request that does not fit the contract."""
    return _invalid("INVALID_INPUT", error.violations)


def from_call(
    error: grpc.aio.AioRpcError,
    service_label: str,
    detail_encoder: DetailEncoder = _nothing,
    field_names: FieldNames = _same,
) -> HttpError:
    """What a service, or the way to it, answered. `service_label` is its name for people."""
    return _from_remote(from_rpc_error(error), service_label, detail_encoder, field_names)


def from_status(
    status: status_pb2.Status,
    service_label: str,
    detail_encoder: DetailEncoder = _nothing,
    field_names: FieldNames = _same,
) -> HttpError:
    """What a service said of one of many requests."""
    remote = grpc_errors.from_status(status)
    return _from_remote(remote, service_label, detail_encoder, field_names)


def from_service_error(error: ServiceError, field_names: FieldNames = _same) -> HttpError:
    """What the gateway's own services, and its admission, refuse a call with."""
    remote = RemoteError(
        code=grpc_errors.status_code(error),
        message=error.message,
        reason=error.reason,
        domain=GATEWAY,
        metadata={name: _text(value) for name, value in error.metadata.items()},
        violations=error.violations if isinstance(error, InvalidInput) else (),
        retry_after_s=getattr(error, "retry_after_s", None),
    )
    return _from_remote(remote, GATEWAY, _nothing, field_names)


def _from_remote(
    remote: RemoteError, label: str, detail_encoder: DetailEncoder, field_names: FieldNames
) -> HttpError:
    status = HTTP_STATUSES.get(remote.code, INTERNAL_STATUS)
    if remote.reason == MESSAGE_TOO_LARGE:
        return _too_large(remote, label)
    if not remote.reason:
        return _from_transport(remote, label)
    if status == INTERNAL_STATUS:
        return internal()
    details = {**_remote_details(remote), **_own(remote, detail_encoder)}
    if remote.violations:
        violations = [(field_names(bad.field), bad.description) for bad in remote.violations]
        return _invalid(remote.reason, violations, details)
    error = HttpError(status, remote.code.name, remote.message, details, _challenge(remote))
    if remote.retry_after_s is None and status != _LATE_STATUS:
        # A service that says nothing of a retry means that the same call fails again.
        return error
    return _retryable(error, remote.retry_after_s)


def _challenge(remote: RemoteError) -> tuple[tuple[bytes, bytes], ...]:
    """What RFC 6750 has a client told that is not let in."""
    if remote.code == grpc.StatusCode.UNAUTHENTICATED:
        error = ', error="invalid_token"' if remote.reason in _BAD_TOKEN else ""
    elif remote.reason == _SCOPE_MISSING:
        scope = remote.metadata.get("scope", "")
        error = f', error="insufficient_scope", scope="{scope}"'
    else:
        return ()
    return ((b"www-authenticate", f'Bearer realm="girih"{error}'.encode("latin-1", "replace")),)


_BAD_TOKEN = frozenset({"TOKEN_INVALID", "TOKEN_EXPIRED", "KEY_INVALID"})
_SCOPE_MISSING = "SCOPE_MISSING"


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _invalid(
    reason: str, violations: list[tuple[str, str]], details: Mapping[str, Any] | None = None
) -> HttpError:
    path, description = violations[0]
    message = first_of(f"{path}: {description}" if path else description, len(violations))
    fields = [{"field": path, "description": description} for path, description in violations]
    all_details = {**(details or {}), "reason": reason, "violations": fields}
    return HttpError(400, "INVALID_ARGUMENT", message, all_details)


def _remote_details(remote: RemoteError) -> dict[str, Any]:
    details: dict[str, Any] = {"reason": remote.reason, "domain": remote.domain}
    if remote.metadata:
        details["metadata"] = {json_name(key): text for key, text in remote.metadata.items()}
    return details


def json_name(name: str) -> str:
    """As the contract's JSON spells the names of fields: `thing_id` as `thingId`."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _own(remote: RemoteError, encode: DetailEncoder) -> dict[str, Any]:
    pairs = (encode(detail) for detail in remote.details)
    return dict(pair for pair in pairs if pair is not None)


def _from_transport(remote: RemoteError, label: str) -> HttpError:
    """Said by gRPC itself, in words that may hold addresses: ours are told instead."""
    code = remote.code
    if any(words in remote.message for words in _NO_GRPC) and _EXPIRED not in remote.message:
        return bad_gateway(label)
    message, reason = _TRANSPORT_WORDS.get(code, (INTERNAL_MESSAGE, "INTERNAL"))
    status = HTTP_STATUSES.get(code, 500)
    name = "INTERNAL" if status == INTERNAL_STATUS else code.name
    if code == grpc.StatusCode.CANCELLED:
        name = grpc.StatusCode.UNAVAILABLE.name
    error = HttpError(status, name, message.format(label=label), {"reason": reason})
    return _retryable(error, remote.retry_after_s)


_NO_GRPC = ("Failed parsing HTTP/2", "Tls handshake failed", "http2 header with status")
"""How gRPC says that what answers at the address speaks something else."""
_EXPIRED = "certificate has expired"
"""It speaks the right thing, and will be believed again once somebody renews that."""


def bad_gateway(label: str) -> HttpError:
    """Somebody answers where the service should be, and not as the service does."""
    return HttpError(
        502,
        "BAD_GATEWAY",
        f"what answers in place of the {label} service cannot be understood",
        {"reason": "SERVICE_NOT_UNDERSTOOD"},
    )


_REQUEST_TOO_LARGE = ("CLIENT: Sent message", "SERVER: Received message")


def _too_large(remote: RemoteError, label: str) -> HttpError:
    if not remote.domain and not remote.message.startswith(_REQUEST_TOO_LARGE):
        # It was the answer, which nobody could know from the request.
        return internal()
    message = f"the request is larger than the {label} service takes"
    details = _remote_details(remote) if remote.domain else {"reason": remote.reason}
    return HttpError(413, "PAYLOAD_TOO_LARGE", message, details)


CALL_LOST: Final = "SERVICE_UNAVAILABLE"
"""The reason of what did not reach a service, or came back from none."""

_TRANSPORT_WORDS = {
    grpc.StatusCode.UNAVAILABLE: (
        "the {label} service cannot be reached now; retry the same call",
        CALL_LOST,
    ),
    grpc.StatusCode.CANCELLED: (
        "the {label} service gave the call up; retry the same call",
        CALL_LOST,
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


def unavailable(
    message: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
    *,
    retry_after_s: float | None = None,
) -> HttpError:
    """An outage: the same request may succeed later."""
    all_details = {**(details or {}), "reason": reason}
    return _retryable(HttpError(503, "UNAVAILABLE", message, all_details), retry_after_s)


def too_many_streams(whose: str, count_max: int) -> HttpError:
    """The caller has as many streams open as it may."""
    message = f"this {whose} has {count_max} streams open, and may have no more"
    details = {"reason": "TOO_MANY_STREAMS", "streamCountMax": count_max}
    return _retryable(HttpError(429, "RESOURCE_EXHAUSTED", message, details), None)


_LATE_STATUS = 504
_RETRIED = frozenset({429, 503, _LATE_STATUS})


def _retryable(error: HttpError, retry_after_s: float | None) -> HttpError:
    """Tell when to come back, in seconds as exact as the service said and as HTTP can."""
    if error.status not in _RETRIED:
        return error
    delay_s = _RETRY_AFTER_DEFAULT_S if retry_after_s is None else retry_after_s
    error.details = {**error.details, "retryAfterS": delay_s}
    error.headers = (*error.headers, (b"retry-after", str(max(1, ceil(delay_s))).encode()))
    return error


def session_ended() -> TokenInvalid:
    """For a caller whose token is good and whose session is not."""
    return TokenInvalid("the session has ended", "its session was revoked")
