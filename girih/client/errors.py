"""What calls to the event store end with, by name: one small tree, one idea of "away".

Match on classes, or on `reason`, which never changes. Messages are for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from girih.events.v1 import events_pb2 as pb
from girih.status_details import MESSAGE_TOO_LARGE, details_in, first_detail, implied_reason

M = TypeVar("M", bound=Message)

_WRITE_FAILED = "Internal error from Core"
"""What gRPC makes of a message that was being written when the call ended."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is out of its bounds, by its path: `events[3].id`."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class PreconditionViolation:
    """One precondition that does not hold."""

    index: int
    """Its place among the preconditions of the append."""
    stream: str
    actual_revision: int | None
    """The revision of the stream's last event; None when it has no events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A status that a call ended with, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """Empty when the answer does not come from a process of girih."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    details: tuple[Any, ...] = ()


class EventStoreError(Exception):
    """A call did not do what was asked."""

    reasons: ClassVar[frozenset[str]] = frozenset()
    """The reasons, and `codes` the codes, of which errors of this class tell."""
    codes: ClassVar[frozenset[grpc.StatusCode]] = frozenset()

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.code: Final = refusal.code
        self.reason: Final = refusal.reason
        self.message: Final = refusal.message
        self.metadata: Final = refusal.metadata
        """Numbers and names that belong to the reason, as the contract lists them."""
        self.retry_after_s: Final = refusal.retry_after_s
        """When the server wants the call repeated; None when it does not say."""

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}"


class Unavailable(EventStoreError):
    """The event store is away, too busy, or did not answer in time: repeat the same call.

    The client has repeated it already, as long as its time allowed. It is not known whether
    an append that ends so happened: repeat it with the same events, which keep their ids.
    """

    codes = frozenset(
        {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.CANCELLED,
        }
    )

    @classmethod
    def no_answer(cls, message: str) -> "Unavailable":
        """Nothing came in time."""
        return cls(Refusal(code=grpc.StatusCode.DEADLINE_EXCEEDED, message=message))


class CallEnded(Unavailable):
    """The event store ended the call, and nothing is known to be wrong: go on through another.

    So it does when nothing was sent for a while and others waited.
    """

    reasons = frozenset({"CALL_IDLE"})
    codes = frozenset()


class Unauthenticated(EventStoreError):
    """The token is missing, not valid or expired. `reason` tells which."""

    codes = frozenset({grpc.StatusCode.UNAUTHENTICATED})

    @property
    def is_expired(self) -> bool:
        return self.reason == "TOKEN_EXPIRED"


class PermissionDenied(EventStoreError):
    """The token does not allow this. Do not repeat."""

    codes = frozenset({grpc.StatusCode.PERMISSION_DENIED})


class StreamOwned(PermissionDenied):
    """A stream belongs to a service, which alone appends to it. Nothing was appended."""

    reasons = frozenset({"STREAM_OWNED"})

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the append that belong to services, as many as fit."""
        return _names(self.metadata.get("streams", ""))


class InvalidRequest(EventStoreError):
    """Fields are out of their bounds. Do not repeat unchanged."""

    codes = frozenset({grpc.StatusCode.INVALID_ARGUMENT})

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        request = first_detail(refusal.details, error_details_pb2.BadRequest())
        self.violations: Final = tuple(
            FieldViolation(one.field, one.description)
            for one in (request.field_violations if request else ())
        )


class RequestTooLarge(EventStoreError):
    """The request, or its answer, is more than a message may hold. Ask for less."""

    reasons = frozenset({MESSAGE_TOO_LARGE})


class PreconditionFailed(EventStoreError):
    """A stream is not in the state expected. Nothing was appended: read and decide again."""

    reasons = frozenset({"PRECONDITION_FAILED"})

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        failure = first_detail(refusal.details, pb.PreconditionFailure())
        self.violations: Final = tuple(
            PreconditionViolation(
                one.index,
                one.stream,
                one.actual_revision if one.HasField("actual_revision") else None,
            )
            for one in (failure.violations if failure else ())
        )
        """Those that do not hold, by index, as many as fit into a status."""


class EventIdReused(EventStoreError):
    """An id is stored with other content. Nothing was appended. Do not repeat."""

    reasons = frozenset({"EVENT_ID_REUSED"})

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The first of them, as many as fit."""
        return _names(self.metadata.get("event_ids", ""))


class StreamNotFound(EventStoreError):
    """No event was ever appended to the stream."""

    reasons = frozenset({"STREAM_NOT_FOUND"})


class BeyondEnd(EventStoreError):
    """The log, or the stream, ends before what was read of it: it was restored to an earlier
    state. What was read is not what it holds: read it again from the beginning."""

    reasons = frozenset({"BEYOND_END"})


class LogReplaced(EventStoreError):
    """The log does not hold any longer what was read of it: it was restored, or another server
    took over that did not have all of it. Undo what came of what was read behind
    `shared_position`, and read on from there without an incarnation, or from the beginning."""

    reasons = frozenset({"LOG_REPLACED"})

    @property
    def incarnation(self) -> str:
        """The incarnation that the log is in now."""
        return self.metadata.get("incarnation", "")

    @property
    def shared_position(self) -> int:
        """The position up to which it holds what was read; 0 when that is not known."""
        text = self.metadata.get("shared_position", "")
        return int(text) if text.isdecimal() else 0


_KINDS: Final[tuple[type[EventStoreError], ...]] = (
    PreconditionFailed,
    EventIdReused,
    StreamNotFound,
    BeyondEnd,
    LogReplaced,
    StreamOwned,
    PermissionDenied,
    Unauthenticated,
    InvalidRequest,
    RequestTooLarge,
    CallEnded,
    Unavailable,
)
_BY_REASON: Final = {reason: kind for kind in _KINDS for reason in kind.reasons}
_BY_CODE: Final = {code: kind for kind in _KINDS for code in kind.codes}


def from_rpc_error(error: grpc.aio.AioRpcError) -> EventStoreError:
    """The error by name. One that has no name of its own is an `EventStoreError`."""
    return error_of(read_refusal(error))


def error_of(refusal: Refusal) -> EventStoreError:
    """By its reason, or else by its code."""
    if not refusal.reason and refusal.message == _WRITE_FAILED:
        return CallEnded(refusal)
    kind = _BY_REASON.get(refusal.reason) or _BY_CODE.get(refusal.code, EventStoreError)
    return kind(refusal)


def from_status(status: status_pb2.Status) -> EventStoreError:
    """The error by name, of what was refused within a call that goes on."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return error_of(_refusal(code, status.message, tuple(status.details)))


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Take a status apart. Details that do not parse are left out."""
    return _refusal(error.code(), error.details() or "", tuple(details_in(error)))


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


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
