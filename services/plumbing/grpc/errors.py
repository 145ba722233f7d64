"""The one table from named errors to gRPC statuses, and back for clients.

Knows every kind of error and no service: a service's own details come from the callback
that it gives when its server is built.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from girih.rules.violations import FieldViolation
from girih.status_details import (
    bad_request,
    details_in,
    error_info,
    first_detail,
    implied_reason,
    retry_info,
    status_of,
)
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

STATUS_CODES: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,  # never retry unchanged
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Conflict: grpc.StatusCode.ABORTED,  # read again, decide again, retry
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,  # never retry unchanged
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,  # retry later, or ask for less
    Unavailable: grpc.StatusCode.UNAVAILABLE,  # retry the same call
    DataLoss: grpc.StatusCode.DATA_LOSS,  # an operator has to bring it back
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
}

INTERNAL_MESSAGE = "internal error"
INTERNAL_REASON = "INTERNAL"

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

M = TypeVar("M", bound=Message)
DetailsOf = Callable[[ServiceError], Sequence[Message]]


def no_details(_error: ServiceError) -> Sequence[Message]:
    """For services whose errors need nothing beyond reason and metadata."""
    return ()


def status_code(error: ServiceError) -> grpc.StatusCode:
    """The code of the nearest kind that the error is one of."""
    for kind in type(error).__mro__:
        if kind in STATUS_CODES:
            return STATUS_CODES[kind]
    return grpc.StatusCode.UNKNOWN


def to_status(error: ServiceError, domain: str, details: Sequence[Message] = ()) -> grpc.Status:
    """Everything callers are told about `error`; `details` are the service's own."""
    status: grpc.Status = rpc_status.to_status(to_proto(error, domain, details))
    return status


def to_proto(
    error: ServiceError, domain: str, details: Sequence[Message] = ()
) -> status_pb2.Status:
    """The same as a message, for rpcs that tell it inside an answer."""
    messages: list[Message] = [error_info(error.reason, domain, error.metadata)]
    if isinstance(error, InvalidInput) and error.violations:
        violations = [(one.field, one.description) for one in error.violations]
        messages.append(bad_request(violations))
    if isinstance(error, ResourceExhausted | Unavailable) and error.retry_after_s is not None:
        messages.append(retry_info(error.retry_after_s))
    return status_of(status_code(error), error.message, [*messages, *details])


def internal_status(domain: str) -> grpc.Status:
    """What callers are told about a bug: that there is one."""
    info = error_info(INTERNAL_REASON, domain, {})
    proto = status_of(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, [info])
    status: grpc.Status = rpc_status.to_status(proto)
    return status


@dataclass(frozen=True)
class RemoteError:
    """What another process said when it refused a call."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """Empty when the answer did not come from one of our processes, and does not tell either."""
    domain: str = ""
    """Empty when the answer did not come from one of our processes."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None
    details: tuple[Any, ...] = ()
    """All details as they came, the ones above included."""


def from_rpc_error(error: grpc.aio.AioRpcError) -> RemoteError:
    """Read an error back into its parts. Details that do not parse are left out."""
    return _remote(error.code(), error.details() or "", tuple(details_in(error)))


def from_status(status: status_pb2.Status) -> RemoteError:
    """Read a status that stands in a message. One with a code nobody knows is UNKNOWN."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _remote(code, status.message, tuple(status.details))


def _remote(code: grpc.StatusCode, message: str, details: tuple[Any, ...]) -> RemoteError:
    info = first_detail(details, error_details_pb2.ErrorInfo())
    request = first_detail(details, error_details_pb2.BadRequest())
    retry = first_detail(details, error_details_pb2.RetryInfo())
    return RemoteError(
        code=code,
        message=message,
        reason=info.reason if info else implied_reason(code, message),
        domain=info.domain if info else "",
        metadata=dict(info.metadata) if info else {},
        violations=tuple(
            FieldViolation(violation.field, violation.description)
            for violation in (request.field_violations if request else ())
        ),
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        details=details,
    )
