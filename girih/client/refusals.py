"""A status taken apart, and the error that it is: the one table from reasons and codes to classes.

A reason that has no class of its own is told by its code. Knows what gRPC ends a call with, on
either of its two stacks, and what the gateway's REST answers.
"""

from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

from girih.client import errors
from girih.client.errors import CallEnded, GirihError, Refusal
from girih.status_details import FailedCall, details_in, first_detail, implied_reason

WRITE_FAILED: Final = "Internal error from Core"
"""What gRPC makes of a message that was being written when the call ended."""


def _kinds(kind: type[GirihError]) -> Iterator[type[GirihError]]:
    yield kind
    for heir in kind.__subclasses__():
        yield from _kinds(heir)


_KINDS: Final = tuple(_kinds(errors.GirihError))
# Each class's own: what it inherits is the other's.
_BY_REASON: Final = {one: kind for kind in _KINDS for one in vars(kind).get("reasons", ())}
_BY_CODE: Final = {one: kind for kind in _KINDS for one in vars(kind).get("codes", ())}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def from_rpc_error(error: FailedCall) -> GirihError:
    """The error by name, of a call that has ended."""
    code, message = error.code(), error.details() or ""
    return error_of(_refusal(code, message, tuple(details_in(error))))


def from_status(status: status_pb2.Status) -> GirihError:
    """The error by name, of what was refused within a call that goes on."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return error_of(_refusal(code, status.message, tuple(status.details)))


def error_of(refusal: Refusal) -> GirihError:
    """By its reason, or else by its code."""
    if not refusal.reason and refusal.message == WRITE_FAILED:
        return CallEnded(refusal)
    kind = _BY_REASON.get(refusal.reason) or _BY_CODE.get(refusal.code, GirihError)
    return kind(refusal)


def _refusal(code: grpc.StatusCode, message: str, details: tuple[Any, ...]) -> Refusal:
    info = first_detail(details, error_details_pb2.ErrorInfo())
    retry = first_detail(details, error_details_pb2.RetryInfo())
    return Refusal(
        code=code,
        message=message,
        reason=info.reason if info else implied_reason(code, message),
        metadata=dict(info.metadata) if info else {},
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        details=details,
    )
