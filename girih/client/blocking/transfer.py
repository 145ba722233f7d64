"""A whole log as messages, with digests, and a way to put it down elsewhere, without asyncio."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final, Self

from girih.client.blocking.calls import parts, unary
from girih.client.caller import Caller
from girih.client.cursors import ReadCursor
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import snapshots_pb2, transfer_pb2
from girih.events.v1.transfer_pb2_grpc import TransferServiceStub
from girih.ids import Position

if TYPE_CHECKING:
    from girih.client.blocking.client import Client
    from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub

DIGESTS_MAX: Final = 1_000
"""Of a page."""


class _RecordCursor(ReadCursor):
    """Where a read of records goes on, which come as they are."""

    def take(self, response: pb.ReadResponse) -> pb.ReadResponse | None:  # type: ignore[override]  # the messages in place of values
        return response if super().take(response) else None


class _SnapshotCursor:
    """Which streams' snapshots are still to come."""

    is_done: Final = False

    def __init__(self) -> None:
        self._request = transfer_pb2.ReadSnapshotsRequest()

    def begin(self) -> transfer_pb2.ReadSnapshotsRequest:
        return self._request

    def take(
        self, response: transfer_pb2.ReadSnapshotsResponse
    ) -> transfer_pb2.ReadSnapshotsResponse:
        self._request.after_first_position = response.first_position
        return response


class Transfer:
    """The log of a tenant for exports and imports. See `girih.events.v1.TransferService`."""

    def __init__(
        self,
        events: "EventStoreServiceStub",
        snapshots: "SnapshotServiceStub",
        transfers: "TransferServiceStub",
        caller: Caller,
    ) -> None:
        self._events = events
        self._snapshots = snapshots
        self._transfers = transfers
        self._caller = caller

    @classmethod
    def of(cls, girih: "Client") -> Self:
        """Of the tenant that `girih` calls as, over its connections. Apart from the client, which
        has what programs need: this is for those who carry whole logs."""
        transfers = TransferServiceStub(girih._channels[0])
        return cls(girih._stub, girih._snapshots, transfers, girih._caller)

    def records(
        self, after: int = 0, count: int = 0, *, incarnation: str = ""
    ) -> Generator[pb.ReadResponse]:
        """Events behind a position as they are stored, those that are gone too; 0 of `count` are
        all. Raises LogReplaced where the log does not hold what was read in `incarnation`."""
        request = pb.ReadRequest(
            from_position=after + 1, limit=count, include_gone=True, incarnation=incarnation
        )
        yield from parts(self._caller, self._events.Read, _RecordCursor(request))

    def digests(
        self, start: int, count: int = DIGESTS_MAX, *, incarnation: str = ""
    ) -> transfer_pb2.ReadDigestsResponse:
        """Those of the events from `start` on, at most `DIGESTS_MAX`; raises LogReplaced."""
        request = transfer_pb2.ReadDigestsRequest(
            from_position=start, page_size=count, incarnation=incarnation
        )
        response: transfer_pb2.ReadDigestsResponse = unary(
            self._caller, self._transfers.ReadDigests, request, None
        )
        return response

    def snapshots(self) -> Generator[transfer_pb2.ReadSnapshotsResponse]:
        """The newest of each stream that has one that fits."""
        yield from parts(self._caller, self._transfers.ReadSnapshots, _SnapshotCursor())

    def save_snapshot(self, saved: transfer_pb2.ReadSnapshotsResponse, read_position: int) -> bool:
        """Keep a snapshot of another log here, as of where that one ended; whether it is among
        those that are kept. Raises NotFound when the stream has no event of its revision."""
        snapshot = saved.snapshot
        request = snapshots_pb2.SaveSnapshotRequest(
            stream=saved.stream,
            revision=snapshot.revision,
            schema_version=snapshot.schema_version,
            content_type=snapshot.content_type,
            read_position=read_position,
        )
        match snapshot.WhichOneof("state"):
            case "json":
                request.json = snapshot.json
            case "binary":
                request.binary = snapshot.binary
        return bool(unary(self._caller, self._snapshots.SaveSnapshot, request, None).kept)

    def restore(
        self, after: int, events: Sequence[transfer_pb2.RestoredEvent]
    ) -> transfer_pb2.RestoreEventsResponse:
        """Put events down behind a position, all or none. Raises Conflict with the reason
        RESTORE_MISPLACED when the log ends elsewhere, as after a call whose answer was lost."""
        request = transfer_pb2.RestoreEventsRequest(after_position=Position(after), events=events)
        response: transfer_pb2.RestoreEventsResponse = unary(
            self._caller, self._transfers.RestoreEvents, request, None
        )
        return response
