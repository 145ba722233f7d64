"""Where logs are, asked of the events service as an operator. Knows no command line."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, cast

import grpc
from google.protobuf import json_format

from cli import exit_codes
from cli.client.transport import open_channel
from cli.failure import Failed
from girih.events.v1 import places_pb2 as pb
from girih.events.v1.places_pb2_grpc import PlaceServiceStub
from services.plumbing.grpc import errors

Document = dict[str, object]
TokenOf = Callable[[str, tuple[str, ...]], Callable[[], str]]
"""Gives tokens of an operator for a tenant's log."""

_OPERATORS: Final = "girih-accounts"
"""Whose call it is that is about all logs."""
_PAGE_SIZE: Final = 1_000
_CALL_S: Final = 30.0


class PlacedLogs:
    """The logs of a girih. Raises Failed for whatever is refused, and when it is away."""

    def __init__(
        self, address: str, token_of: TokenOf, environ: Mapping[str, str], *, name: str = ""
    ) -> None:
        """`name` is what certificates say where `address` is one of several behind it."""
        self._address = address
        self._name = name
        self._token_of = token_of
        self._environ = environ

    def place(self, tenant: str, place: str) -> Document:
        """Have the log be there before its first event."""
        with self._stub() as stub:
            request = pb.PlaceLogRequest(place=place)
            metadata = self._metadata(tenant, "logs.place")
            return _document(stub.PlaceLog(request, timeout=_CALL_S, metadata=metadata).log)

    def move(self, tenant: str, place: str) -> Document:
        """Have the log be moved there; returns at once."""
        with self._stub() as stub:
            request = pb.MoveLogRequest(place=place)
            metadata = self._metadata(tenant, "logs.place")
            return _document(stub.MoveLog(request, timeout=_CALL_S, metadata=metadata).log)

    def all(self) -> Iterator[Document]:
        """Where each log is, in the order in which they began."""
        request = pb.ListPlacedLogsRequest(page_size=_PAGE_SIZE)
        with self._stub() as stub:
            while True:
                metadata = self._metadata(_OPERATORS, "ops.read")
                page = stub.ListPlacedLogs(request, timeout=_CALL_S, metadata=metadata)
                yield from map(_document, page.logs)
                if not page.next_page_token:
                    return
                request.page_token = page.next_page_token

    def databases(self) -> Mapping[str, str]:
        """Which database each place leads to, for the process that answers; empty for a place that
        has not answered it yet."""
        with self._stub() as stub:
            request = pb.ListPlacedLogsRequest(page_size=1)
            metadata = self._metadata(_OPERATORS, "ops.read")
            page = stub.ListPlacedLogs(request, timeout=_CALL_S, metadata=metadata)
        return dict(zip(page.places, page.databases, strict=False))

    def _metadata(self, tenant: str, scope: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token_of(tenant, (scope,))()}"),)

    @contextmanager
    def _stub(self) -> Iterator[PlaceServiceStub]:
        with open_channel(self._address, self._environ, self._name) as channel:
            try:
                yield PlaceServiceStub(channel)
            except grpc.RpcError as error:
                # What is asked of it, a call without asyncio has as well.
                refusal = errors.from_rpc_error(cast("grpc.aio.AioRpcError", error))
                is_away = refusal.code is grpc.StatusCode.UNAVAILABLE
                code = exit_codes.UNAVAILABLE if is_away else exit_codes.FAILED
                message = f"events refuses: {refusal.message} ({refusal.reason or refusal.code})"
                raise Failed(message, code) from error


def _document(log: pb.PlacedLog) -> Document:
    document: Document = json_format.MessageToDict(log, always_print_fields_with_no_presence=True)
    return document
