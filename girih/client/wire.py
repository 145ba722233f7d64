"""Values to messages of the contract and back. Knows no call."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf import json_format

from girih.client.events import (
    CategoryInfo,
    Cause,
    Compatibility,
    EventTypeInfo,
    Gone,
    GoneReason,
    LogInfo,
    NewEvent,
    NoMatch,
    Placement,
    Precondition,
    Query,
    RecordedEvent,
    Retention,
    SchemaVersion,
    Snapshot,
    StreamEnding,
    StreamInfo,
    StreamState,
    TracedEvent,
)
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1 import schemas_pb2, snapshots_pb2
from girih.ids import Position, Revision, new_event_id

_STATES: Final = {
    StreamState.ABSENT: pb.Precondition.STATE_ABSENT,
    StreamState.EXISTS: pb.Precondition.STATE_EXISTS,
}

_ENDINGS: Final[Mapping[int, StreamEnding]] = {
    keeping_pb.STREAM_ENDING_DELETED: StreamEnding.DELETED,
    keeping_pb.STREAM_ENDING_TOMBSTONED: StreamEnding.TOMBSTONED,
}
_REASONS: Final[Mapping[int, GoneReason]] = {
    keeping_pb.GONE_REASON_RETENTION: GoneReason.RETENTION,
    keeping_pb.GONE_REASON_DELETED: GoneReason.DELETED,
    keeping_pb.GONE_REASON_REDACTED: GoneReason.REDACTED,
}
_COMPATIBILITIES: Final = {
    Compatibility.NONE: schemas_pb2.COMPATIBILITY_NONE,
    Compatibility.BACKWARD: schemas_pb2.COMPATIBILITY_BACKWARD,
    Compatibility.FORWARD: schemas_pb2.COMPATIBILITY_FORWARD,
    Compatibility.FULL: schemas_pb2.COMPATIBILITY_FULL,
}
_BY_NUMBER: Final = {number: word for word, number in _COMPATIBILITIES.items()}

_STREAMS_PAGE_SIZE: Final = 1_000
"""The most that the contract gives."""
_TRACE_PAGE_SIZE: Final = 1_000
"""The same."""


def append_request(
    events: Iterable[NewEvent], preconditions: Iterable[Precondition | NoMatch]
) -> pb.AppendRequest:
    return pb.AppendRequest(
        events=map(_event, events), preconditions=map(_precondition, preconditions)
    )


def append_stream_request(
    events: Iterable[NewEvent], preconditions: Iterable[Precondition | NoMatch]
) -> pb.AppendStreamRequest:
    return pb.AppendStreamRequest(
        events=map(_event, events), preconditions=map(_precondition, preconditions)
    )


def all_preconditions(
    preconditions: Sequence[Precondition | NoMatch],
    unless: Query | Sequence[Query],
    after: int | None,
    incarnation: str,
) -> Sequence[Precondition | NoMatch]:
    """With the one that `unless` is. Raises ValueError for the others alone."""
    if isinstance(unless, Query) or unless:
        return [*preconditions, NoMatch(unless, after, incarnation)]
    if after is not None or incarnation:
        raise ValueError("after and incarnation must be given with unless")
    return preconditions


def event_filter(queries: Query | Sequence[Query]) -> pb.Filter:
    several = [queries] if isinstance(queries, Query) else queries
    return pb.Filter(queries=map(_query, several))


def read_request(
    stream: str | None,
    *,
    filter: Query | Sequence[Query] = (),
    from_position: int | None = None,
    from_revision: int | None = None,
    from_time: datetime | None = None,
    backwards: bool = False,
    limit: int | None = None,
    follow: bool = False,
    incarnation: str = "",
    include_gone: bool = False,
    upcast: bool = False,
) -> pb.ReadRequest:
    """Raises ValueError for what no server would take."""
    if stream == "":
        raise ValueError("stream must have a name; None reads the whole log")
    if limit is not None and limit < 1:
        raise ValueError("limit must be at least 1; None reads all")
    if from_revision is not None and (stream is None or from_position is not None):
        raise ValueError("from_revision must come with a stream, and without from_position")
    if from_time is not None and (from_position is not None or from_revision is not None):
        raise ValueError("from_time must come without from_position and from_revision")
    if from_time is not None and from_time.tzinfo is None:
        raise ValueError("from_time must have a time zone")
    is_filtered = isinstance(filter, Query) or bool(filter)
    if is_filtered and stream is not None:
        raise ValueError("filter must come without a stream")
    return pb.ReadRequest(
        filter=event_filter(filter) if is_filtered else None,
        # Told how far it is, it goes on there, and not behind the last event that was meant. Who
        # follows the log is also told when all that there was has come.
        progress=is_filtered or (follow and stream is None),
        from_time=from_time,
        stream=stream or "",
        direction=pb.DIRECTION_BACKWARDS if backwards else pb.DIRECTION_FORWARDS,
        from_position=from_position,
        from_revision=from_revision,
        limit=limit or 0,
        follow=follow,
        incarnation=incarnation,
        include_gone=include_gone,
        upcast=upcast,
    )


def placements(response: pb.AppendResponse | pb.AppendStreamResponse) -> list[Placement]:
    return [
        Placement(
            position=Position(one.position),
            revision=Revision(one.revision),
            event_id=one.event_id,
            recorded_at=one.recorded_at.ToDatetime(tzinfo=UTC),
            already_stored=one.already_stored,
            incarnation=response.incarnation,
        )
        for one in response.placements
    ]


def recorded_events(
    response: pb.ReadResponse | snapshots_pb2.LoadStreamResponse,
) -> list[RecordedEvent]:
    incarnation = response.incarnation
    return [recorded_event(message, incarnation) for message in response.events]


def log_info(response: pb.GetLogResponse) -> LogInfo:
    return LogInfo(head=Position(response.head_position), incarnation=response.incarnation)


def list_streams_request(prefix: str, category: str = "") -> pb.ListStreamsRequest:
    return pb.ListStreamsRequest(prefix=prefix, category=category, page_size=_STREAMS_PAGE_SIZE)


def category_infos(response: keeping_pb.ListCategoriesResponse) -> list[CategoryInfo]:
    return [
        CategoryInfo(
            category=one.category, stream_count=one.stream_count, event_count=one.event_count
        )
        for one in response.categories
    ]


def event_type_infos(response: keeping_pb.ListEventTypesResponse) -> list[EventTypeInfo]:
    return [EventTypeInfo(type=one.type, event_count=one.event_count) for one in response.types]


def metadata_request(
    stream: str, metadata: object, expected_version: int | None
) -> keeping_pb.SetStreamMetadataRequest:
    """Raises ValueError on NaN and Infinity."""
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return keeping_pb.SetStreamMetadataRequest(
        stream=stream, metadata=text, expected_version=expected_version, id=new_event_id()
    )


def retention_request(stream: str, retention: Retention) -> keeping_pb.SetStreamRetentionRequest:
    parts = keeping_pb.Retention(
        max_age_s=retention.max_age_s,
        max_count=retention.max_count,
        truncate_before=retention.truncate_before,
    )
    return keeping_pb.SetStreamRetentionRequest(stream=stream, retention=parts, id=new_event_id())


def delete_request(stream: str, expected_revision: int | None) -> keeping_pb.DeleteStreamRequest:
    return keeping_pb.DeleteStreamRequest(
        stream=stream, expected_revision=expected_revision, id=new_event_id()
    )


def tombstone_request(
    stream: str, expected_revision: int | None
) -> keeping_pb.TombstoneStreamRequest:
    return keeping_pb.TombstoneStreamRequest(
        stream=stream, expected_revision=expected_revision, id=new_event_id()
    )


def redact_request(position: int, reason: str) -> keeping_pb.RedactEventRequest:
    return keeping_pb.RedactEventRequest(position=position, reason=reason, id=new_event_id())


def read_trace_request(correlation_id: str) -> pb.ReadTraceRequest:
    return pb.ReadTraceRequest(correlation_id=correlation_id, page_size=_TRACE_PAGE_SIZE)


def traced_events(response: pb.ReadTraceResponse) -> list[TracedEvent]:
    """A page of a trace in the order of positions, in which pages are."""
    incarnation = response.incarnation
    events = [
        TracedEvent(
            event=recorded_event(one.recorded, incarnation),
            cause=_cause(one.cause) if one.HasField("cause") else None,
        )
        for one in response.events
    ]
    return sorted(events, key=lambda one: one.event.position)


def stream_info(response: pb.GetStreamResponse | pb.Stream) -> StreamInfo:
    return StreamInfo(
        stream=response.stream,
        last_revision=Revision(response.last_revision),
        first_position=Position(response.first_position),
        last_position=Position(response.last_position),
        created_at=response.created_at.ToDatetime(tzinfo=UTC),
        updated_at=response.updated_at.ToDatetime(tzinfo=UTC),
        first_revision=Revision(response.first_revision),
        event_count=response.event_count,
        ending=_ENDINGS.get(response.ending),
        **({} if isinstance(response, pb.Stream) else _kept(response)),
    )


def _kept(response: pb.GetStreamResponse) -> dict[str, Any]:
    retention = response.retention
    return {
        "metadata": response.metadata or None,
        "metadata_version": response.metadata_version,
        "retention": Retention(
            max_age_s=retention.max_age_s if retention.HasField("max_age_s") else None,
            max_count=retention.max_count if retention.HasField("max_count") else None,
            truncate_before=(
                retention.truncate_before if retention.HasField("truncate_before") else None
            ),
        ),
    }


def _cause(message: pb.TracedEvent.Cause) -> Cause:
    return Cause(
        position=Position(message.position),
        correlation_id=message.correlation_id,
        stream=message.stream,
        type=message.type,
    )


def _event(event: NewEvent) -> pb.Event:
    return pb.Event(
        id=event.id,
        stream=event.stream,
        type=event.type,
        schema_version=event.schema_version,
        json=event.json,
        binary=event.binary,
        content_type=event.content_type,
        metadata=event.metadata,
        tags=event.tags,
    )


def _query(query: Query) -> pb.Query:
    return pb.Query(
        types=sorted(query.types),
        tags=sorted(query.tags),
        stream_prefix=query.stream_prefix,
        category=query.category,
        correlation_id=query.correlation_id,
    )


def _precondition(precondition: Precondition | NoMatch) -> pb.Precondition:
    if isinstance(precondition, NoMatch):
        wanted = event_filter(precondition.queries)
        return pb.Precondition(
            no_match=pb.NoMatch(
                filter=wanted,
                after_position=precondition.after,
                incarnation=precondition.incarnation,
            )
        )
    if isinstance(precondition.expected, StreamState):
        return pb.Precondition(stream=precondition.stream, state=_STATES[precondition.expected])
    return pb.Precondition(
        stream=precondition.stream,
        revision=precondition.expected,
        incarnation=precondition.incarnation,
    )


def _gone(message: keeping_pb.Gone) -> Gone | None:
    reason = _REASONS.get(message.reason)
    if reason is None:
        return None
    return Gone(
        reason=reason,
        at=message.at.ToDatetime(tzinfo=UTC),
        actor=message.actor,
        position=Position(message.position),
    )


def recorded_event(message: pb.RecordedEvent, incarnation: str) -> RecordedEvent:
    event = message.event
    payload = event.WhichOneof("payload")
    return RecordedEvent(
        position=Position(message.position),
        revision=Revision(message.revision),
        recorded_at=message.recorded_at.ToDatetime(tzinfo=UTC),
        id=event.id,
        stream=event.stream,
        type=event.type,
        schema_version=event.schema_version,
        json=event.json if payload == "json" else None,
        binary=event.binary if payload == "binary" else None,
        content_type=event.content_type,
        metadata=dict(event.metadata),
        tags=tuple(event.tags),
        correlation_id=message.context.correlation_id,
        causation_id=message.context.causation_id,
        actor=message.context.actor,
        incarnation=incarnation,
        gone=_gone(message.gone) if message.HasField("gone") else None,
        upcast_from=message.upcast.from_version if message.HasField("upcast") else None,
        upcast_problem=message.upcast.problem,
    )


def register_schema_request(
    event_type: str, version: int, schema: object, compatibility: Compatibility | None
) -> schemas_pb2.RegisterSchemaRequest:
    return schemas_pb2.RegisterSchemaRequest(
        type=event_type,
        version=version,
        schema=json.dumps(schema, ensure_ascii=False),
        compatibility=None if compatibility is None else _COMPATIBILITIES[compatibility],
    )


def register_upcaster_request(
    event_type: str,
    from_version: int,
    to_version: int,
    steps: Sequence[Mapping[str, Mapping[str, object]]],
    examples: Sequence[object],
) -> schemas_pb2.RegisterUpcasterRequest:
    """Raises ValueError for a step that is none."""
    request = schemas_pb2.RegisterUpcasterRequest(
        type=event_type, examples=[json.dumps(one, ensure_ascii=False) for one in examples]
    )
    request.upcaster.from_version, request.upcaster.to_version = from_version, to_version
    for step in steps:
        try:
            json_format.ParseDict(_spelled(step), request.upcaster.steps.add())
        except json_format.ParseError as error:
            raise ValueError(f"a step must be as in the contract: {error}") from None
    return request


def _spelled(step: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """With values as JSON texts, as messages have them."""
    return {
        name: {
            key: json.dumps(value, ensure_ascii=False) if key == "value" else value
            for key, value in change.items()
        }
        for name, change in step.items()
    }


def schema_version(message: schemas_pb2.SchemaVersion) -> SchemaVersion:
    return SchemaVersion(
        type=message.type,
        version=message.version,
        compatibility=_BY_NUMBER[message.compatibility],
        registered_at=message.registered_at.ToDatetime(tzinfo=UTC),
        has_upcaster=message.has_upcaster,
    )


def snapshot(message: snapshots_pb2.Snapshot) -> Snapshot:
    is_json = message.WhichOneof("state") == "json"
    return Snapshot(
        revision=Revision(message.revision),
        schema_version=message.schema_version,
        state=message.json.encode() if is_json else message.binary,
        content_type=message.content_type,
        saved_at=message.saved_at.ToDatetime(tzinfo=UTC),
        is_older=message.is_older,
    )
