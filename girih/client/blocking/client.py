"""What users have without asyncio: the same names as `girih.client.AsyncClient`."""

import copy
import os
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Self

from girih.client import wire
from girih.client.blocking.calls import parts, unary
from girih.client.blocking.lattices import Lattices
from girih.client.blocking.reading import Subscription
from girih.client.channel import open_blocking_channel
from girih.client.connecting import target
from girih.client.connecting.target import Wanted
from girih.client.connecting.transport import Transport
from girih.client.context import ContextSource, current_context
from girih.client.cursors import Batch, ReadCursor
from girih.client.errors import GirihError, StreamNotFound
from girih.client.events import (
    ABSENT,
    LogInfo,
    NewEvent,
    NoMatch,
    Placement,
    Precondition,
    Query,
    RecordedEvent,
    Retention,
    StreamInfo,
    TracedEvent,
)
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.ids import Position, Revision
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub


class Client:
    """A girih, as the user or key that calls it. `AsyncClient` is the same with asyncio.

        with Client() as girih:
            girih.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])
            for event in girih.follow():
                print(event.position, event.type, event.data)

    Closed with its block, which ends the calls that are open: a loop over `follow` in another
    thread then comes to its end. One client serves any number of threads, and none after a fork.
    Methods promise and raise what those of AsyncClient do.

    There is no event loop behind it: a process that has one in a thread cannot be forked, since
    its children hang, and every call would go from thread to thread and back.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        token: Token | None = None,
        events: str | None = None,
        lattice: str | None = None,
        tls: bool | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        timeout: float | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
        context: ContextSource = current_context,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """As AsyncClient, but that a function that gives `token` must be a plain one."""
        transport = Transport.chosen(
            tls=tls, ca_file=ca_file, cert_file=cert_file, key_file=key_file, environ=environ
        )
        wanted = Wanted(
            server=server,
            events=events,
            lattice=lattice,
            token=token,
            api_key=api_key,
            retry=retry,
            timeout=timeout,
            context=context,
        )
        found = target.find(wanted, transport, environ, Path.cwd())
        self._channels = [
            open_blocking_channel(address, tls=transport.credentials(address))
            for address in (found.events_address, found.lattice_address)
        ]
        self._caller = found.caller
        self._stub = EventStoreServiceStub(self._channels[0])
        self._lattice_stub = LatticeServiceStub(self._channels[1])
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()

    @property
    def lattices(self) -> Lattices:
        """The tenant's lattices."""
        return Lattices(self._lattice_stub, self._caller)

    def close(self) -> None:
        """End the calls that are open, and the connections."""
        for subscription in list(self._subscriptions):
            subscription.close()
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def acting(
        self,
        *,
        token: Token | None = None,
        correlation_id: str = "",
        causation_id: str = "",
        retry: RetryPolicy | None = None,
    ) -> Self:
        """A client over the same connections: for another tenant's token, or on behalf of a call.

        What is not given stays as it is here.
        """
        other = copy.copy(self)
        other._caller = self._caller.acting(
            token=token, correlation_id=correlation_id, causation_id=causation_id, retry=retry
        )
        return other

    def append(
        self,
        events: Sequence[NewEvent],
        preconditions: Sequence[Precondition | NoMatch] = (),
        *,
        unless: Query | Sequence[Query] = (),
        after: int | None = None,
        timeout: float | None = None,
    ) -> list[Placement]:
        """Append all events or none, as one transaction; answers where each is, in order."""
        conditions = wire.all_preconditions(preconditions, unless, after)
        request = wire.append_request(events, conditions)
        return wire.placements(unary(self._caller, self._stub.Append, request, timeout))

    def read(
        self,
        stream: str | None = None,
        *,
        filter: Query | Sequence[Query] = (),
        from_position: int | None = None,
        from_revision: int | None = None,
        from_time: datetime | None = None,
        backwards: bool = False,
        limit: int | None = None,
        incarnation: str = "",
        include_gone: bool = False,
        timeout: float | None = None,
    ) -> Generator[RecordedEvent]:
        """The events of a stream, or of the log, in order and each once, up to its end."""
        batches = self.read_batches(
            stream,
            filter=filter,
            from_position=from_position,
            from_revision=from_revision,
            from_time=from_time,
            backwards=backwards,
            limit=limit,
            incarnation=incarnation,
            include_gone=include_gone,
            timeout=timeout,
        )
        with closing(batches):
            for batch in batches:
                yield from batch

    def read_batches(
        self,
        stream: str | None = None,
        *,
        filter: Query | Sequence[Query] = (),
        from_position: int | None = None,
        from_revision: int | None = None,
        from_time: datetime | None = None,
        backwards: bool = False,
        limit: int | None = None,
        incarnation: str = "",
        include_gone: bool = False,
        timeout: float | None = None,
    ) -> Generator[Batch]:
        """As `read`, in the batches that the server sends: for those who read much."""
        request = wire.read_request(
            stream,
            filter=filter,
            from_position=from_position,
            from_revision=from_revision,
            from_time=from_time,
            backwards=backwards,
            limit=limit,
            incarnation=incarnation,
            include_gone=include_gone,
        )
        return parts(self._caller, self._stub.Read, ReadCursor(request), timeout)

    def last(self, stream: str) -> RecordedEvent | None:
        """The last event of a stream, None when it has none."""
        with closing(self.read(stream, backwards=True, limit=1)) as events:
            return next(events, None)

    def follow(
        self,
        stream: str | None = None,
        *,
        filter: Query | Sequence[Query] = (),
        from_position: int | None = None,
        from_revision: int | None = None,
        from_time: datetime | None = None,
        incarnation: str = "",
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> Subscription:
        """The events of a stream or of the log, and then those to come: each once, in order."""
        request = wire.read_request(
            stream,
            filter=filter,
            from_position=from_position,
            from_revision=from_revision,
            from_time=from_time,
            follow=True,
            incarnation=incarnation,
        )
        subscription = Subscription(
            self._stub, self._caller, request, on_interrupted=on_interrupted
        )
        self._subscriptions.add(subscription)
        return subscription

    def get_stream(self, stream: str, *, timeout: float | None = None) -> StreamInfo:
        """Where a stream begins and ends; raises StreamNotFound."""
        request = pb.GetStreamRequest(stream=stream)
        return wire.stream_info(unary(self._caller, self._stub.GetStream, request, timeout))

    def streams(self, prefix: str = "", *, timeout: float | None = None) -> Generator[StreamInfo]:
        """The streams whose names begin with `prefix`, in the order of their names."""
        request = wire.list_streams_request(prefix)
        while True:
            page = unary(self._caller, self._stub.ListStreams, request, timeout)
            yield from map(wire.stream_info, page.streams)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def set_metadata(
        self,
        stream: str,
        metadata: object,
        *,
        expected_version: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Give a stream metadata, written as JSON of at most 8 KiB; answers its version.

        `expected_version` is the one that is there, 0 for none. Raises MetadataChanged.
        """
        request = wire.metadata_request(stream, metadata, expected_version)
        response = unary(self._caller, self._stub.SetStreamMetadata, request, timeout)
        return response.version

    def set_retention(
        self, stream: str, retention: Retention, *, timeout: float | None = None
    ) -> Position:
        """Say which events of a stream are kept: what is not is gone when this returns.

        Its payloads do not come back. Answers where the event of `$streams` is that says so.
        """
        request = wire.retention_request(stream, retention)
        response = unary(self._caller, self._stub.SetStreamRetention, request, timeout)
        return Position(response.position)

    def delete_stream(
        self, stream: str, *, expected_revision: int | None = None, timeout: float | None = None
    ) -> Position:
        """Delete a stream, which may begin anew behind its revisions. Raises PreconditionFailed
        when its last event is another than that of `expected_revision`.
        """
        request = wire.delete_request(stream, expected_revision)
        response = unary(self._caller, self._stub.DeleteStream, request, timeout)
        return Position(response.position)

    def tombstone_stream(
        self, stream: str, *, expected_revision: int | None = None, timeout: float | None = None
    ) -> Position:
        """Delete a stream and close it for ever: appends to it raise StreamTombstoned."""
        request = wire.tombstone_request(stream, expected_revision)
        response = unary(self._caller, self._stub.TombstoneStream, request, timeout)
        return Position(response.position)

    def redact(self, position: int, reason: str, *, timeout: float | None = None) -> Position:
        """Take the payload of one event away for ever; raises EventGone and EventNotFound."""
        request = wire.redact_request(position, reason)
        response = unary(self._caller, self._stub.RedactEvent, request, timeout)
        return Position(response.position)

    def trace(self, correlation_id: str, *, timeout: float | None = None) -> Generator[TracedEvent]:
        """What one request caused, over all streams and in the order of positions."""
        request = wire.read_trace_request(correlation_id)
        while True:
            page = unary(self._caller, self._stub.ReadTrace, request, timeout)
            yield from wire.traced_events(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def position_at(self, time: datetime, *, timeout: float | None = None) -> Position:
        """The position of the first event recorded at `time` or later."""
        request = pb.GetPositionRequest(time=time)
        return Position(unary(self._caller, self._stub.GetPosition, request, timeout).position)

    def log(self, *, timeout: float | None = None) -> LogInfo:
        """Where the log ends, and which incarnation it is in."""
        return wire.log_info(unary(self._caller, self._stub.GetLog, pb.GetLogRequest(), timeout))

    def head(self, *, timeout: float | None = None) -> Position:
        """The position of the last event of the log, which is also how many there are."""
        return self.log(timeout=timeout).head

    def head_revision(self, stream: str, *, timeout: float | None = None) -> Revision:
        """The revision of a stream's last event, ABSENT when it has none."""
        try:
            return self.get_stream(stream, timeout=timeout).last_revision
        except StreamNotFound:
            return ABSENT
