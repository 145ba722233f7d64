"""Why a call is refused, as the contract's table of reasons has it. Knows no rpc."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from girih.errors.v1 import reasons_pb2
from girih.options.v1 import options_pb2
from girih.rules.violations import FieldViolation, Violations, first_of
from girih.status_details import (
    STATUS_DETAILS_KEY,
    Scalar,
    bad_request,
    error_info,
    retry_info,
    status_of,
)

DOMAIN: Final = "events.girih"
"""What errors of the event store say that they are from."""


class Refused(Exception):
    """A call, or a request of a stream of them, is refused for one of the contract's reasons."""

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        violations: Sequence[FieldViolation] = (),
        details: Sequence[Message] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self._message = message
        self._metadata = metadata or {}
        self._violations = violations
        self._details = details
        self._retry_after_s = retry_after_s

    def status(self) -> status_pb2.Status:
        """As callers are told."""
        details: list[Message] = [error_info(self.reason, DOMAIN, self._metadata)]
        if self._violations:
            details.append(bad_request([(one.field, one.description) for one in self._violations]))
        if self._retry_after_s is not None:
            details.append(retry_info(self._retry_after_s))
        return status_of(_code_of(self.reason), self._message, [*details, *self._details])

    def end(self, context: grpc.ServicerContext) -> NoReturn:
        """End the call with it."""
        status = self.status()
        trailers = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
        context.set_trailing_metadata(trailers)
        context.abort(_code_of(self.reason), status.message)


def refuse_if_any(violations: Violations) -> None:
    """Raise INVALID_INPUT where there are bad fields."""
    if violations:
        listed: Iterable[FieldViolation] = list(violations)
        raise invalid_input(list(listed))


def invalid_input(violations: Sequence[FieldViolation]) -> Refused:
    first = violations[0]
    message = first_of(f"{first.field}: {first.description}", len(violations))
    return Refused("INVALID_INPUT", message, violations=violations)


def _code_of(reason: str) -> grpc.StatusCode:
    options: Any = reasons_pb2.ErrorReason.DESCRIPTOR.values_by_name[reason].GetOptions()
    return grpc.StatusCode[options.Extensions[options_pb2.error].code]
