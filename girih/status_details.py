"""What a status says beside its code: its typed details, as they come in trailing metadata, and
what gRPC itself means that gives none. Both ways, and for no service in particular."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

MESSAGE_TOO_LARGE: Final = "MESSAGE_TOO_LARGE"
"""The reason of a message that is larger than is taken, whoever refuses it."""

# Statuses travel in HTTP/2 trailers, of which peers accept 8 KiB by default and lose the
# whole status beyond that. Base64 adds a third, and the message is sent twice.
_MESSAGE_CHARS_MAX: Final = 1_000
_VIOLATIONS_BYTES_MAX: Final = 3_000
_DESCRIPTION_CHARS_MAX: Final = 300

Scalar = str | int | float | bool

M = TypeVar("M", bound=Message)


class FailedCall(Protocol):
    """What both stacks of gRPC raise for a call that did not end with OK."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Any: ...  # noqa: ANN401 - pairs, of a type of each stack's own


def details_in(error: FailedCall) -> Iterable[Any]:
    """All details, none when they do not parse."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                yield from status_pb2.Status.FromString(value).details
            except DecodeError:
                return


def first_detail(details: Iterable[Any], empty: M) -> M | None:
    """Unpack into `empty` the first detail of its type that parses."""
    for detail in details:
        try:
            if detail.Unpack(empty):
                return empty
        except DecodeError:
            continue
    return None


def implied_reason(code: grpc.StatusCode, message: str) -> str:
    """The reason of a status without details, or empty text.

    What is far too large is refused by gRPC itself, on either side: with the code of what is
    only too much now, which a client would repeat for ever.
    """
    is_too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message
    return MESSAGE_TOO_LARGE if is_too_large else ""


def status_of(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> status_pb2.Status:
    """A status with its details."""
    number: int = code.value[0]
    proto = status_pb2.Status(code=number, message=_shortened(message, _MESSAGE_CHARS_MAX))
    for detail in details:
        proto.details.add().Pack(detail)
    return proto


def error_info(
    reason: str, domain: str, metadata: Mapping[str, Scalar]
) -> error_details_pb2.ErrorInfo:
    """Why a call failed, and what belongs to that, each value as far as it fits."""
    return error_details_pb2.ErrorInfo(
        reason=reason,
        domain=domain,
        metadata={
            name: _shortened(_text(value), _DESCRIPTION_CHARS_MAX)
            for name, value in metadata.items()
        },
    )


def bad_request(violations: Sequence[tuple[str, str]]) -> error_details_pb2.BadRequest:
    """The bad fields, each with its description: as many as fit, and how many are left."""
    request = error_details_pb2.BadRequest()
    for count, (field, description) in enumerate(violations):
        if request.ByteSize() > _VIOLATIONS_BYTES_MAX:
            left = len(violations) - count
            request.field_violations.add(description=f"{left} more fields are not valid")
            break
        request.field_violations.add(
            field=_shortened(field, _DESCRIPTION_CHARS_MAX),
            description=_shortened(description, _DESCRIPTION_CHARS_MAX),
        )
    return request


def retry_info(retry_after_s: float) -> error_details_pb2.RetryInfo:
    """When to call again."""
    delay = Duration()
    delay.FromNanoseconds(round(retry_after_s * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shortened(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
