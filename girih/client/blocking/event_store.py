# Made of girih/client/event_store.py by `python -m release.blocking_client`: change that.
"""The client of the event store. Knows the rpcs, and nothing of what events mean."""

import copy
import json
from collections.abc import (
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import closing
from datetime import datetime
from typing import Self
from weakref import WeakSet

import grpc

from girih.client import wire
from girih.client.blocking.calls import parts, unary
from girih.client.blocking.consuming import Consumer
from girih.client.blocking.groups import Groups
from girih.client.blocking.reading import Subscription
from girih.client.caller import Caller
from girih.client.context import ContextSource, current_context
from girih.client.cursors import Batch, LoadCursor, ReadCursor
from girih.client.errors import GirihError, StreamNotFound
from girih.client.events import (
    ABSENT,
    CategoryInfo,
    Compatibility,
    EventTypeInfo,
    LoadedStream,
    LogInfo,
    NewEvent,
    NoMatch,
    Placement,
    Precondition,
    Query,
    RecordedEvent,
    Retention,
    SchemaVersion,
    StreamInfo,
    TracedEvent,
)
from girih.client.groups.in_flight import CREDITS
from girih.client.groups.messages import consumer_start
from girih.client.retry import RetryPolicy
from girih.client.tokens import Token
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1 import schemas_pb2, snapshots_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.groups_pb2_grpc import GroupServiceStub
from girih.events.v1.schemas_pb2_grpc import SchemaServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from girih.ids import Position, Revision

_DEFAULT_RETRY = RetryPolicy()


class BlockingEventStoreClient:
    """Appends to and reads from the log of the tenant that the token names.

        with Client() as events:
            events.append([NewEvent.with_data("permit-1", "submitted", {"by": "Ada"})])
            for event in events.read("permit-1"):
                print(event.revision, event.type, event.data)

    Every method raises GirihError, by class and `reason`. What may be repeated safely is
    repeated, until the time of the `RetryPolicy` is up; then Unavailable tells so. Cheap to make:
    all that share a channel share its connection.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        token: Token = "",
        context: ContextSource = current_context,
        retry: RetryPolicy = _DEFAULT_RETRY,
    ) -> None:
        """`channel` stays its owner's to close. `context` gives the ids that calls carry."""
        self._channel = channel
        self._stub = EventStoreServiceStub(channel)
        self._schemas = SchemaServiceStub(channel)
        self._snapshots = SnapshotServiceStub(channel)
        self._groups = GroupServiceStub(channel)
        self._caller = Caller(token=token, context=context, retry=retry)
        self._subscriptions: WeakSet[Subscription | Consumer] = WeakSet()

    def acting(
        self,
        *,
        token: Token | None = None,
        correlation_id: str = "",
        causation_id: str = "",
        retry: RetryPolicy | None = None,
    ) -> Self:
        """A client over the same channel: for another tenant's token, or on behalf of a call.

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
        incarnation: str = "",
        timeout: float | None = None,
    ) -> list[Placement]:
        """Append all events or none, as one transaction; answers where each is, in order.

        Nothing is appended if the log has an event that `unless` means, one query of it where it
        is several, behind the position `after`; None means anywhere. With the `incarnation` that
        was read in, `LogReplaced` says that the log does not hold any longer what was read.

        Acknowledged means durable. After Unavailable it is not known whether it happened:
        append the same events again. 1 to 5,000 events, together at most 8 MiB; at most 1,000
        preconditions, of which 16 are NoMatch. Raises PreconditionFailed, EventIdReused,
        StreamOwned, InvalidRequest, BeyondEnd, PreconditionTooCostly.
        """
        conditions = wire.all_preconditions(preconditions, unless, after, incarnation)
        request = wire.append_request(events, conditions)
        response: pb.AppendResponse = unary(self._caller, self._stub.Append, request, timeout)
        return wire.placements(response)

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
        upcast: bool = False,
        timeout: float | None = None,
    ) -> Generator[RecordedEvent]:
        """The events of a stream, or of the log, in order and each once, up to its end.

        With a `filter` those that one of its queries means. `from_position` and `from_revision`
        are those of the first event that may come; the latter only with a stream. `from_time`
        begins with the first event recorded then or later, backwards with the last then or
        before. A stream that does not exist reads as empty. Resumes by
        itself; raises Unavailable when nothing comes for `timeout` seconds, or as long as the
        policy says, and LogReplaced when the log does not hold what was read of it any longer:
        here, or before in the `incarnation` given. What retention and deletion have hidden comes
        only with `include_gone`, without its payload. With `upcast` events
        come in the newest version that upcasters lead to. Whoever stops early closes it
        (`contextlib.closing`), or the call ends a moment later.
        """
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
            upcast=upcast,
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
        upcast: bool = False,
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
            upcast=upcast,
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
        upcast: bool = False,
        on_connected: Callable[[], None] | None = None,
        on_interrupted: Callable[[GirihError], None] | None = None,
        on_looked: Callable[[], None] | None = None,
    ) -> Subscription:
        """The events of a stream or of the log, and then those to come: each once, in order.

        With a `filter` those that one of its queries means; it resumes behind what was looked at
        in vain. Position and revision may be at most one beyond the end, else BeyondEnd is raised.
        LogReplaced is raised when the log does not hold any longer what was read of it, here or
        before in the `incarnation` given: keep that of the subscription with the place.
        `on_connected` is called each time a call was taken, before its first event;
        `on_interrupted` is called each time one has ended and is about to be resumed, and
        `on_looked` when there was nothing that is wanted up to the `position` of the subscription,
        or all of the log that was committed has come.
        """
        request = wire.read_request(
            stream,
            filter=filter,
            from_position=from_position,
            from_revision=from_revision,
            from_time=from_time,
            follow=True,
            incarnation=incarnation,
            upcast=upcast,
        )
        subscription = Subscription(
            self._stub,
            self._caller,
            request,
            on_connected=on_connected,
            on_interrupted=on_interrupted,
            on_looked=on_looked,
        )
        self._subscriptions.add(subscription)
        return subscription

    def consume(
        self,
        group: str,
        *,
        credits: int = CREDITS,  # noqa: A002 - the contract's word
        name: str = "",
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> Consumer:
        """Take part in a consumer group: its messages, as many as `credits` at once.

        `name` is what people see who look at the group. `on_interrupted` is called each time a call
        has ended and is about to be resumed; what was given and not settled is lost then.
        """
        start = consumer_start(group, name, credits)
        consumer = Consumer(self._groups, self._caller, start, on_interrupted=on_interrupted)
        self._subscriptions.add(consumer)
        return consumer

    @property
    def groups(self) -> Groups:
        """The tenant's consumer groups."""
        return Groups(self._groups, self._caller)

    def get_stream(self, stream: str, *, timeout: float | None = None) -> StreamInfo:
        """Where a stream begins and ends; raises StreamNotFound."""
        request = pb.GetStreamRequest(stream=stream)
        response: pb.GetStreamResponse = unary(self._caller, self._stub.GetStream, request, timeout)
        return wire.stream_info(response)

    def streams(
        self, prefix: str = "", *, category: str = "", timeout: float | None = None
    ) -> Generator[StreamInfo]:
        """The streams whose names begin with `prefix`, or those of a `category`, in the
        order of their names, page by page.

        One that begins meanwhile comes where its name is still ahead. `timeout` is for a page.
        """
        request = wire.list_streams_request(prefix, category)
        while True:
            page: pb.ListStreamsResponse = unary(
                self._caller, self._stub.ListStreams, request, timeout
            )
            for stream in page.streams:
                yield wire.stream_info(stream)
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
        response: keeping_pb.SetStreamMetadataResponse = unary(
            self._caller, self._stub.SetStreamMetadata, request, timeout
        )
        return response.version

    def set_retention(
        self, stream: str, retention: Retention, *, timeout: float | None = None
    ) -> Position:
        """Say which events of a stream are kept: what is not is gone when this returns.

        Its payloads do not come back. Answers where the event of `$streams` is that says so.
        """
        request = wire.retention_request(stream, retention)
        response: keeping_pb.SetStreamRetentionResponse = unary(
            self._caller, self._stub.SetStreamRetention, request, timeout
        )
        return Position(response.position)

    def delete_stream(
        self, stream: str, *, expected_revision: int | None = None, timeout: float | None = None
    ) -> Position:
        """Delete a stream, which may begin anew behind its revisions. Raises PreconditionFailed
        when its last event is another than that of `expected_revision`.
        """
        request = wire.delete_request(stream, expected_revision)
        response: keeping_pb.DeleteStreamResponse = unary(
            self._caller, self._stub.DeleteStream, request, timeout
        )
        return Position(response.position)

    def tombstone_stream(
        self, stream: str, *, expected_revision: int | None = None, timeout: float | None = None
    ) -> Position:
        """Delete a stream and close it for ever: appends to it raise StreamTombstoned."""
        request = wire.tombstone_request(stream, expected_revision)
        response: keeping_pb.TombstoneStreamResponse = unary(
            self._caller, self._stub.TombstoneStream, request, timeout
        )
        return Position(response.position)

    def redact(self, position: int, reason: str, *, timeout: float | None = None) -> Position:
        """Take the payload of one event away for ever; raises EventGone and EventNotFound."""
        request = wire.redact_request(position, reason)
        response: keeping_pb.RedactEventResponse = unary(
            self._caller, self._stub.RedactEvent, request, timeout
        )
        return Position(response.position)

    def categories(self, *, timeout: float | None = None) -> Generator[CategoryInfo]:
        """The categories of streams with their counts, by name, page by page."""
        request = keeping_pb.ListCategoriesRequest(page_size=1_000)
        while True:
            page: keeping_pb.ListCategoriesResponse = unary(
                self._caller, self._stub.ListCategories, request, timeout
            )
            yield from wire.category_infos(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def event_types(self, *, timeout: float | None = None) -> Generator[EventTypeInfo]:
        """The types of events with their counts, in the order of their names, page by page."""
        request = keeping_pb.ListEventTypesRequest(page_size=1_000)
        while True:
            page: keeping_pb.ListEventTypesResponse = unary(
                self._caller, self._stub.ListEventTypes, request, timeout
            )
            yield from wire.event_type_infos(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def trace(self, correlation_id: str, *, timeout: float | None = None) -> Generator[TracedEvent]:
        """What one request caused, over all streams and in the order of positions, page by page.

        Without payloads. A cause comes before what it caused. `timeout` is for a page.
        """
        request = wire.read_trace_request(correlation_id)
        while True:
            page: pb.ReadTraceResponse = unary(self._caller, self._stub.ReadTrace, request, timeout)
            yield from wire.traced_events(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def position_at(self, time: datetime, *, timeout: float | None = None) -> Position:
        """The position of the first event recorded at `time` or later; one behind the end when
        there is none yet.
        """
        request = pb.GetPositionRequest(time=time)
        response: pb.GetPositionResponse = unary(
            self._caller, self._stub.GetPosition, request, timeout
        )
        return Position(response.position)

    def register_schema(
        self,
        event_type: str,
        version: int,
        schema: object,
        *,
        compatibility: Compatibility | None = None,
        timeout: float | None = None,
    ) -> SchemaVersion:
        """Register the JSON Schema of a version of a type: what is appended must be as it says.

        To register the same again does nothing. None for `compatibility` keeps to what the
        version before kept to, BACKWARD for the first. Raises SchemaRefused, SchemaIncompatible,
        SchemaVersionTaken, LimitReached.
        """
        request = wire.register_schema_request(event_type, version, schema, compatibility)
        response = unary(self._caller, self._schemas.RegisterSchema, request, timeout)
        return wire.schema_version(response.version)

    def register_upcaster(
        self,
        event_type: str,
        from_version: int,
        to_version: int,
        steps: Sequence[Mapping[str, Mapping[str, object]]],
        *,
        examples: Sequence[object] = (),
        timeout: float | None = None,
    ) -> None:
        """Register how the JSON of one version is made that of the next, for reads with `upcast`.

        Steps are as in the contract: `{"rename": {"path": "/by", "name": "grantedBy"}}`. Raises
        SchemaRefused, NotFound.
        """
        request = wire.register_upcaster_request(
            event_type, from_version, to_version, steps, examples
        )
        unary(self._caller, self._schemas.RegisterUpcaster, request, timeout)

    def schema(
        self, event_type: str, version: int | None = None, *, timeout: float | None = None
    ) -> tuple[SchemaVersion, object]:
        """A version of a type, None for the newest, and its schema, parsed; raises NotFound."""
        request = schemas_pb2.GetSchemaRequest(type=event_type, version=version)
        response = unary(self._caller, self._schemas.GetSchema, request, timeout)
        return wire.schema_version(response.version), json.loads(response.schema)

    def schemas(
        self, event_type: str = "", *, timeout: float | None = None
    ) -> Generator[SchemaVersion]:
        """What is registered of a type, or of all, by type and version; `timeout` is for a page."""
        request = schemas_pb2.ListSchemasRequest(type=event_type, page_size=1_000)
        while True:
            page = unary(self._caller, self._schemas.ListSchemas, request, timeout)
            for version in page.versions:
                yield wire.schema_version(version)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete_schemas(self, event_type: str, *, timeout: float | None = None) -> None:
        """Delete all versions and upcasters of a type: then it takes anything. Raises NotFound."""
        request = schemas_pb2.DeleteSchemasRequest(type=event_type)
        unary(self._caller, self._schemas.DeleteSchemas, request, timeout)

    def save_snapshot(
        self,
        stream: str,
        revision: int,
        state: bytes,
        *,
        schema_version: int = 0,
        content_type: str = "",
        incarnation: str = "",
        read_position: int | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Keep what a stream was folded into, under the revision of the last event in it; answers
        whether it is among those that are kept.

        `schema_version` is that of its layout, `incarnation` that of the events, `read_position`
        the `head` of the LoadedStream that it began with, or of `log()` before: without it nothing
        is kept in which an event was ever redacted. Raises NotFound, LogReplaced.
        """
        request = snapshots_pb2.SaveSnapshotRequest(
            stream=stream,
            revision=revision,
            binary=state,
            schema_version=schema_version,
            content_type=content_type,
            incarnation=incarnation,
            read_position=read_position,
        )
        return bool((unary(self._caller, self._snapshots.SaveSnapshot, request, timeout)).kept)

    def load(
        self,
        stream: str,
        *,
        schema_version: int = 0,
        upcast: bool = False,
        timeout: float | None = None,
    ) -> LoadedStream:
        """The newest snapshot of a stream that fits, and all events behind it, in one call.

        Snapshots of a later layout than `schema_version` do not fit; 0 takes all.
        """
        request = snapshots_pb2.LoadStreamRequest(
            stream=stream, schema_version=schema_version, upcast=upcast
        )
        cursor = LoadCursor(request)
        loading = parts(self._caller, self._snapshots.LoadStream, cursor, timeout)
        for _ in loading:
            pass
        return cursor.loaded()

    def log(self, *, timeout: float | None = None) -> LogInfo:
        """Where the log ends, and which incarnation it is in."""
        request = pb.GetLogRequest()
        response: pb.GetLogResponse = unary(self._caller, self._stub.GetLog, request, timeout)
        return wire.log_info(response)

    def head(self, *, timeout: float | None = None) -> Position:
        """The position of the last event of the log, which is also how many there are."""
        return (self.log(timeout=timeout)).head

    def head_revision(self, stream: str, *, timeout: float | None = None) -> Revision:
        """The revision of a stream's last event, ABSENT when it has none."""
        try:
            return (self.get_stream(stream, timeout=timeout)).last_revision
        except StreamNotFound:
            return ABSENT
