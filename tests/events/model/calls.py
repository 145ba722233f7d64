"""The calls of the machine: plain values in, gRPC, plain values out."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2, schemas_pb2, snapshots_pb2
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.events.v1.schemas_pb2_grpc import SchemaServiceStub
from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceStub
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from tests.events.model.values import (
    Described,
    Gone,
    NoMatch,
    OnStream,
    Placed,
    Precondition,
    Query,
    Refused,
    Retention,
    Shown,
    Span,
    State,
    Traced,
    Violation,
    Written,
)

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub
    from girih.events.v1.schemas_pb2_grpc import SchemaServiceAsyncStub
    from girih.events.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub

Metadata = list[tuple[str, str]]
Signal = tuple[int, int]
"""How many events had come when a position was told."""


@dataclass(frozen=True)
class Read:
    """What a call of `Read` answered."""

    events: list[Shown]
    signals: list[Signal]
    recorded_us: dict[int, int]
    gone_at: dict[int, tuple[int, str]]
    """By position: when it was said that an event is gone, and by whom."""


class Replica:
    """One process of the service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.events: EventStoreServiceAsyncStub = EventStoreServiceStub(channel)
        self.schemas: SchemaServiceAsyncStub = SchemaServiceStub(channel)
        self.snapshots: SnapshotServiceAsyncStub = SnapshotServiceStub(channel)


async def append(
    replica: Replica,
    metadata: Metadata,
    events: Sequence[Written],
    preconditions: Sequence[Precondition],
) -> tuple[list[Placed], list[int]]:
    """The placements, and when each was recorded. Raises `Refused`."""
    request = pb.AppendRequest(
        events=map(event_message, events), preconditions=map(_precondition, preconditions)
    )
    try:
        response = await replica.events.Append(request, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise refused(error) from error
    placed = [Placed(p.position, p.revision, p.already_stored) for p in response.placements]
    assert [p.event_id for p in response.placements] == [event.id for event in events]
    return placed, [_us(p.recorded_at) for p in response.placements]


async def read(replica: Replica, metadata: Metadata, span: Span, *, progress: bool) -> Read:
    request = read_request(span)
    request.progress = progress
    return await _taken(replica.events.Read(request, metadata=metadata))


async def follow(replica: Replica, metadata: Metadata, span: Span) -> Read:
    """What a follower is sent until it has caught up, or has as many events as it wants."""
    request = read_request(span)
    request.follow = request.progress = True
    call = replica.events.Read(request, metadata=metadata)
    try:
        return await _taken(_until_caught_up(call))
    finally:
        call.cancel()


async def _until_caught_up(call: AsyncIterable[pb.ReadResponse]) -> AsyncIterator[pb.ReadResponse]:
    async for response in call:
        yield response
        if response.HasField("caught_up"):
            return


async def _taken(call: AsyncIterable[pb.ReadResponse]) -> Read:
    result = Read([], [], {}, {})
    try:
        async for response in call:
            for recorded in response.events:
                take(result, recorded)
            if (name := response.WhichOneof("signal")) is not None:
                result.signals.append((len(result.events), getattr(response, name).position))
    except grpc.aio.AioRpcError as error:
        raise refused(error) from error
    return result


def take(result: Read, recorded: pb.RecordedEvent) -> None:
    result.events.append(shown(recorded))
    result.recorded_us[recorded.position] = _us(recorded.recorded_at)
    if recorded.HasField("gone"):
        result.gone_at[recorded.gone.position] = (_us(recorded.gone.at), recorded.gone.actor)


def read_request(span: Span) -> pb.ReadRequest:
    request = pb.ReadRequest(
        stream=span.stream,
        direction=pb.DIRECTION_BACKWARDS if span.is_backwards else pb.DIRECTION_FORWARDS,
        from_position=span.from_position,
        from_revision=span.from_revision,
        from_time=None if span.from_us is None else timestamp(span.from_us),
        limit=span.limit,
        include_gone=span.shows_gone,
        upcast=span.upcasts,
    )
    if span.queries:
        request.filter.queries.extend(map(_query, span.queries))
    return request


async def load(
    replica: Replica, metadata: Metadata, stream: str, version: int
) -> tuple[State | None, bool, list[Shown]]:
    """The snapshot, whether it is older than its reader, and the events behind it."""
    request = snapshots_pb2.LoadStreamRequest(stream=stream, schema_version=version)
    call = replica.snapshots.LoadStream(request, metadata=metadata)
    responses = [response async for response in call]
    events = [shown(recorded) for response in responses for recorded in response.events]
    if not responses[0].HasField("snapshot"):
        return None, False, events
    snapshot = responses[0].snapshot
    binary = snapshot.binary if snapshot.HasField("binary") else None
    state = State(snapshot.revision, snapshot.schema_version, snapshot.json, binary)
    return state, snapshot.is_older, events


async def trace(
    replica: Replica, metadata: Metadata, correlation_id: str, page_size: int, token: str
) -> tuple[list[Traced], str]:
    request = pb.ReadTraceRequest(
        correlation_id=correlation_id, page_size=page_size, page_token=token
    )
    response = await replica.events.ReadTrace(request, metadata=metadata)
    return list(map(_traced, response.events)), response.next_page_token


def _traced(traced: pb.TracedEvent) -> Traced:
    cause = traced.cause
    named = (cause.position, cause.correlation_id, cause.stream, cause.type)
    return Traced(shown(traced.recorded), traced.depth, named if traced.HasField("cause") else None)


async def answered(call: Any) -> Any:
    """The answer of a call. Raises `Refused`."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise refused(error) from error


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """What a call was refused with; a mistake of the service comes out as it is."""
    remote = from_rpc_error(error)
    if not remote.reason or error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        raise error
    return Refused(remote.reason, tuple(_violations(remote)))


def _violations(remote: RemoteError) -> list[Violation]:
    failure = pb.PreconditionFailure()
    if not any(detail.Unpack(failure) for detail in remote.details):
        return []
    return [
        Violation(
            one.index,
            one.stream,
            one.actual_revision if one.HasField("actual_revision") else None,
            one.position,
            one.event_id,
            one.read_again,
        )
        for one in failure.violations
    ]


def event_message(written: Written) -> pb.Event:
    event = pb.Event(
        id=written.id,
        stream=written.stream,
        type=written.type,
        schema_version=written.version,
        content_type=written.content_type,
        metadata=dict(written.metadata),
        tags=written.tags,
    )
    if written.json:
        event.json = written.json
    elif written.binary is not None:
        event.binary = written.binary
    return event


def shown(recorded: pb.RecordedEvent) -> Shown:
    event, has_upcast = recorded.event, recorded.HasField("upcast")
    text = event.json
    if has_upcast and not recorded.upcast.problem:
        text = json.dumps(json.loads(text), sort_keys=True)
    gone = None
    if recorded.HasField("gone"):
        reason = keeping_pb2.GoneReason.Name(recorded.gone.reason)
        gone = Gone(reason.removeprefix("GONE_REASON_"), recorded.gone.position)
    written = Written(
        event.id,
        event.stream,
        event.type,
        event.schema_version,
        text,
        event.binary if event.HasField("binary") else None,
        event.content_type,
        tuple(sorted(event.metadata.items())),
        tuple(event.tags),
    )
    return Shown(
        recorded.position,
        recorded.revision,
        written,
        recorded.context.correlation_id,
        recorded.context.causation_id,
        gone,
        recorded.upcast.from_version if has_upcast else None,
        bool(recorded.upcast.problem),
    )


def described(stream: pb.Stream | pb.GetStreamResponse) -> Described:
    ending = keeping_pb2.StreamEnding.Name(stream.ending).removeprefix("STREAM_ENDING_")
    description = Described(
        stream.stream,
        stream.last_revision,
        stream.first_position,
        stream.last_position,
        stream.first_revision,
        stream.event_count,
        ending,
        _us(stream.created_at),
        _us(stream.updated_at),
    )
    if isinstance(stream, pb.Stream):
        return description
    return replace(
        description,
        metadata=stream.metadata,
        metadata_version=stream.metadata_version,
        retention=_retention(stream.retention) if stream.HasField("retention") else None,
    )


def _retention(kept: keeping_pb2.Retention) -> Retention:
    def part(name: str) -> int | None:
        return getattr(kept, name) if kept.HasField(name) else None

    return Retention(part("max_age_s"), part("max_count"), part("truncate_before"))


def timestamp(us: int) -> Timestamp:
    seconds, rest = divmod(us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def _us(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1_000


def _query(query: Query) -> pb.Query:
    return pb.Query(
        types=query.types,
        tags=query.tags,
        stream_prefix=query.prefix,
        category=query.category,
        correlation_id=query.correlation_id,
    )


def _precondition(wanted: Precondition) -> pb.Precondition:
    if isinstance(wanted, NoMatch):
        queries = pb.Filter(queries=map(_query, wanted.queries))
        return pb.Precondition(no_match=pb.NoMatch(filter=queries, after_position=wanted.after))
    assert isinstance(wanted, OnStream)
    if isinstance(wanted.expected, int):
        return pb.Precondition(stream=wanted.stream, revision=wanted.expected)
    return pb.Precondition(stream=wanted.stream, state=f"STATE_{wanted.expected.upper()}")


def schema_request(
    name: str, version: int, text: str, compatibility: str
) -> schemas_pb2.RegisterSchemaRequest:
    return schemas_pb2.RegisterSchemaRequest(
        type=name, version=version, schema=text, compatibility=f"COMPATIBILITY_{compatibility}"
    )
