"""The typed details of a status, as they come in trailing metadata. Knows no service."""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

M = TypeVar("M", bound=Message)


def details_in(error: grpc.aio.AioRpcError) -> Iterable[Any]:
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
