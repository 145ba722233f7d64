"""What can go wrong, by name. Knows no transport: `grpc_errors` and the gateway choose codes.

A service subclasses one of the kinds below, gives it a `reason`, and raises it with the
numbers its caller needs. Whatever is not a `ServiceError` is a bug: it is logged in full
and reaches nobody.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from girih.rules import violations as rules
from girih.rules.violations import FieldViolation, first_of

Scalar = str | int | float | bool


class ServiceError(Exception):
    """Something that callers are told, with a `reason` programs may match on for ever."""

    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, **metadata: Scalar) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class Unauthenticated(ServiceError):
    """The call does not say, or cannot prove, who makes it."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    """The caller is known and may not do this."""

    reason = "PERMISSION_DENIED"


class NotFound(ServiceError):
    """What the call names does not exist, or not for this caller."""

    reason = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """What the call would make exists with other content."""

    reason = "ALREADY_EXISTS"


class Conflict(ServiceError):
    """A race was lost: read again, decide again, then retry."""

    reason = "CONFLICT"


class FailedPrecondition(ServiceError):
    """The call makes sense, and what it is about does not allow it. Do not retry unchanged."""

    reason = "FAILED_PRECONDITION"


class DataLoss(ServiceError):
    """What was kept is not there any more, or not as it was. Somebody has to bring it back."""

    reason = "DATA_LOSS"


class DeadlineExceeded(ServiceError):
    """The caller's time, or the server's longest, has passed. The outcome is unknown."""

    reason = "DEADLINE_EXCEEDED"


class Unimplemented(ServiceError):
    """No such rpc in this process."""

    reason = "UNIMPLEMENTED"


class _RetryLater(ServiceError):
    def __init__(
        self, message: str, *, retry_after_s: float | None = 1.0, **metadata: Scalar
    ) -> None:
        super().__init__(message, **metadata)
        self.retry_after_s = retry_after_s


class ResourceExhausted(_RetryLater):
    """A limit is reached: retry after `retry_after_s`, or ask for less when it is None."""

    reason = "RESOURCE_EXHAUSTED"


class Unavailable(_RetryLater):
    """Something this process depends on is away: retry the same call after `retry_after_s`."""

    reason = "UNAVAILABLE"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or went away during a statement.

    A write that ends so may have been stored.
    """

    reason = "DATABASE_UNAVAILABLE"


class EventsUnavailable(Unavailable):
    """The event store, which holds what this process serves, cannot be reached.

    What was to be recorded may have been.
    """

    reason = "EVENTS_UNAVAILABLE"


class ShuttingDown(Unavailable):
    """This process is going away; another one, or the next one, will answer."""

    reason = "SHUTTING_DOWN"


class CannotRun(Exception):
    """This process cannot start or go on. Told to whoever runs it, never to callers."""

    exit_code = 1
    """What the process ends with. 78 says that starting it again will not help."""


class InvalidInput(ServiceError):
    """Fields are out of their bounds. Never retry unchanged."""

    reason = "INVALID_INPUT"

    def __init__(
        self,
        message: str = "",
        violations: Sequence[FieldViolation] = (),
        **metadata: Scalar,
    ) -> None:
        super().__init__(message or _summary(violations), **metadata)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> Self:
        return cls(violations=[FieldViolation(field, description)])


class Violations(rules.Violations):
    """Bad fields that a call is refused for."""

    def raise_if_any(self) -> None:
        if self:
            raise InvalidInput(violations=list(self))


def _summary(violations: Sequence[FieldViolation]) -> str:
    if not violations:
        return "the request is not valid"
    first = f"{violations[0].field}: {violations[0].description}"
    return first_of(first, len(violations))


def let_go(error: BaseException) -> None:
    """Take from an error what it holds: the frames it went through, and all that is in them.

    An error and a frame or future that knows it hold each other until the collector looks,
    which is seldom: hundreds of refused requests of some MiB each would stay.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
