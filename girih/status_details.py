"""What a status says beside its code: its typed details, as they come in trailing metadata, and
what gRPC itself means that gives none. Knows no service."""

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

MESSAGE_TOO_LARGE: Final = "MESSAGE_TOO_LARGE"
"""The reason of a message that is larger than is taken, whoever refuses it."""

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
