"""Between the wire and the domain, one message at a time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.message import Message

from girih.events.v1 import events_pb2 as pb
from girih.ids import Position, Revision, StreamName, new_event_id
from girih.rules import requests
from girih.rules.checking import MessageCheck
from services.events import checks, domain, record, rulings
from services.events.domain import NewEvent, NoMatch, Placement, Precondition, StreamState
from services.events.errors import PreconditionFailed
from services.events.matching.queries import Filter, Query
from services.events.reading.reader import ReadOptions
from services.events.reading.traces import PAGE_BYTES_MAX as TRACE_BYTES_MAX
from services.events.reading.traces import Trace
from services.events.store import (
    DatabaseStatus,
    NamedStream,
    StreamEnds,
    StreamsRequest,
    TraceRequest,
)
from services.plumbing import validation
from services.plumbing.correlation import Call
from services.plumbing.errors import ServiceError, Violations
from services.plumbing.grpc import errors as grpc_errors

_EVENTS_AT_A_TIME = 32
"""Checked by the contract together. More save little, and so many never take long."""
# In bytes of an event, which takes as long as some however small it is.
_WORK_AT_A_TIME = 2**16
_WORK_OF_AN_EVENT = 300
_ID_BYTES = 2 + len("01a225c9-955f-7000-8c26-8ace82b35a3f")
"""Of the field of an event's id."""
_DETAILS_BYTES_MAX = 2_500


# Appends


async def proposal(request: requests.AnyAppendRequest, call: Call) -> domain.Proposal:
    """What `request` asks to append, with ids where it has none.

    Takes the payloads out of `request`. Raises `InvalidInput` with every bad field. Lets
    other calls run between the events of a large request: each takes about 5 microseconds.
    What is of some size is looked at in a thread: the worst 4 MiB of JSON take half a second,
    and the digest of as many bytes some milliseconds.
    """
    violations = Violations()
    requests.check_counts(request, violations)
    violations.raise_if_any()
    if len(request.preconditions) > 1:
        # A single one is bounded by the rules of its fields.
        requests.check_no_matches(request.preconditions, violations)
        violations.raise_if_any()
    preconditions = [
        _precondition(precondition, index, violations)
        for index, precondition in enumerate(request.preconditions)
    ]
    events: list[NewEvent] = []
    rules = checks.event_rules()
    work = 0
    asked = request.events
    # Of those that are looked at one by one.
    broken: MessageCheck | None = rules
    for index, event in enumerate(asked):
        if index % _EVENTS_AT_A_TIME == 0 and len(asked) > 1:
            together = asked[index : index + _EVENTS_AT_A_TIME]
            broken = None if rules.all_hold(together) else rules
        # Read once, as each reading makes a text of it.
        text = event.json
        if len(text) > _WORK_AT_A_TIME or (not text and len(event.binary) > _WORK_AT_A_TIME):
            events.append(
                await asyncio.to_thread(_new_event, event, text, index, broken, violations)
            )
            continue
        new = _new_event(event, text, index, broken, violations)
        events.append(new)
        work += _WORK_OF_AN_EVENT + new.byte_count
        if work > _WORK_AT_A_TIME:
            work = 0
            if violations.is_full:
                break
            await asyncio.sleep(0)
    if not violations.is_full:
        ids = [event.event_id for event in events]
        requests.check_together(ids, sum([event.byte_count for event in events]), violations)
    violations.raise_if_any()
    return domain.Proposal(events, preconditions, record.call_context(call))


def append_response(placements: Sequence[Placement]) -> pb.AppendResponse:
    """The placements in the order of the request."""
    response = pb.AppendResponse()
    _add_placements(response, placements)
    return response


def append_stream_response(placements: Sequence[Placement]) -> pb.AppendStreamResponse:
    """The placements in the order of the request."""
    response = pb.AppendStreamResponse()
    _add_placements(response, placements)
    return response


def append_stream_refusal(error: ServiceError, service_domain: str) -> pb.AppendStreamResponse:
    """What `Append` would have ended with."""
    refusal = grpc_errors.to_proto(error, service_domain, details_of(error))
    return pb.AppendStreamResponse(refusal=refusal)


def _add_placements(
    response: pb.AppendResponse | pb.AppendStreamResponse, placements: Sequence[Placement]
) -> None:
    add = response.placements.add
    response.incarnation = placements[0].incarnation
    for event_id, position, revision, recorded_at, already_stored, _ in placements:
        placement = add()
        placement.MergeFrom(_placed_at(recorded_at))
        placement.position = position
        placement.revision = revision
        placement.event_id = event_id
        if already_stored:
            placement.already_stored = True


@lru_cache(maxsize=64)
def _placed_at(recorded_at: datetime) -> pb.Placement:
    """What all placements of a batch have in common. Half of what an answer takes would go
    into making it for each.
    """
    return pb.Placement(recorded_at=recorded_at)


def details_of(error: ServiceError) -> Sequence[Message]:
    """The typed details of an error, beside those that every service gives.

    As many violations as fit: statuses travel in trailers, which peers bound. The error's
    metadata tells how many there are.
    """
    if not isinstance(error, PreconditionFailed):
        return ()
    failure = pb.PreconditionFailure()
    for violation in error.violations:
        detail = failure.violations.add(index=violation.index, read_again=violation.read_again)
        detail.stream = violation.stream
        if violation.match is not None:
            detail.position, detail.event_id = violation.match
        if violation.actual_revision is not None:
            detail.actual_revision = violation.actual_revision
        if failure.ByteSize() > _DETAILS_BYTES_MAX:
            del failure.violations[-1]
            break
    return (failure,)


def _new_event(
    event: pb.Event, text: str, index: int, rules: MessageCheck | None, violations: Violations
) -> NewEvent:
    """`event`, whose JSON is `text`, as it will be stored, its payload taken out of it; of no use
    when a violation was found. `rules` are None when it keeps them.
    """
    checks.check_event(event, text, index, rules, violations)
    # Both go without the call that gives a type, which each event would pay for.
    event_id: Any = event.id
    stream: Any = event.stream
    made_bytes = 0
    if not event_id:
        event_id = event.id = new_event_id()
        made_bytes = _ID_BYTES
    header, payload, digest = record.pieces(event, text)
    # As it has been before its payload was taken out: to count that writes it once more.
    byte_count = len(header) + len(payload) - made_bytes
    if byte_count > requests.EVENT_BYTES_MAX:
        violations.add(f"events[{index}]", f"must be at most {requests.EVENT_BYTES_MAX:,} bytes")
    # Most have none, and to ask for them makes a list of none.
    tags = tuple(event.tags) if record.TAGS_TAG in header else ()
    parts = (event_id, stream, event.type, tags, digest, header, payload, byte_count)
    new: NewEvent = domain.made(NewEvent, parts)
    return new


def _precondition(
    precondition: pb.Precondition, index: int, violations: Violations
) -> Precondition | NoMatch:
    """`precondition` in the domain's words; of no use when a violation was found."""
    requests.check_precondition(precondition, index, violations)
    if precondition.HasField("no_match"):
        asked = precondition.no_match
        is_set = asked.HasField("after_position")
        return NoMatch(
            Filter(tuple(map(_query, asked.filter.queries))),
            Position(asked.after_position) if is_set else None,
            read_in=asked.incarnation,
        )
    stream = StreamName(precondition.stream)
    if precondition.HasField("revision"):
        return Precondition(stream, Revision(precondition.revision), precondition.incarnation)
    state = checks.STATES.get(precondition.state, StreamState.EXISTS)
    return Precondition(stream, state)


# Queries


def event_filter(asked: pb.Filter) -> Filter:
    """`asked`, of a request that keeps the rules of the contract, in the domain's words."""
    return Filter(tuple(map(_query, asked.queries)))


def _query(asked: pb.Query) -> Query:
    return Query(
        types=frozenset(asked.types),
        tags=frozenset(asked.tags),
        stream_prefix=asked.stream_prefix,
        category=asked.category,
        correlation_id=asked.correlation_id,
    )


# Reads


def options(request: pb.ReadRequest) -> ReadOptions:
    """What `request` asks to read. Raises `InvalidInput` with every bad field."""
    violations = Violations()
    requests.check_read(request, violations)
    violations.raise_if_any()
    return ReadOptions(
        stream=StreamName(request.stream) if request.stream else None,
        is_backwards=request.direction == pb.DIRECTION_BACKWARDS,
        from_position=(
            Position(request.from_position) if request.HasField("from_position") else None
        ),
        from_revision=(
            Revision(request.from_revision) if request.HasField("from_revision") else None
        ),
        from_time=(
            request.from_time.ToDatetime(tzinfo=UTC) if request.HasField("from_time") else None
        ),
        limit=request.limit or None,
        is_followed=request.follow,
        incarnation=request.incarnation,
        filter=event_filter(request.filter) if request.HasField("filter") else None,
        has_progress=request.progress,
        heartbeat_s=(
            requests.duration(request.heartbeat).total_seconds()
            if request.HasField("heartbeat")
            else None
        ),
        shows_gone=request.include_gone,
    )


def position_request(request: pb.GetPositionRequest) -> datetime:
    """The time asked about. Raises `InvalidInput`."""
    violations = Violations()
    validation.add_violations(request, violations)
    requests.check_time(request.time, "time", violations)
    violations.raise_if_any()
    return request.time.ToDatetime(tzinfo=UTC)


def stream_name(request: pb.GetStreamRequest) -> StreamName:
    """The stream asked about. Raises `InvalidInput`."""
    validation.check(request)
    return StreamName(request.stream)


def stream_response(stream: StreamName, ends: StreamEnds) -> pb.GetStreamResponse:
    """A stream, from its first event to its last."""
    return pb.GetStreamResponse(
        stream=stream,
        last_revision=ends.last_revision,
        first_position=ends.first_position,
        last_position=ends.last_position,
        created_at=ends.created_at,
        updated_at=ends.updated_at,
        first_revision=ends.first_revision,
        event_count=ends.last_revision + 1 - ends.first_revision,
        ending=rulings.ending_value(ends.ending),
        metadata=ends.metadata,
        metadata_version=ends.metadata_version,
        retention=rulings.retention_message(ends.retention),
    )


def streams_request(request: pb.ListStreamsRequest) -> StreamsRequest:
    """The page asked for, and one stream more, which tells whether there is another page.

    Raises `InvalidInput` with every bad field.
    """
    validation.check(request)
    return StreamsRequest(
        prefix=request.category or request.prefix,
        behind=request.page_token,
        count_max=domain.page_size(request.page_size) + 1,
        is_category=bool(request.category),
    )


def streams_response(streams: Sequence[NamedStream], count_max: int) -> pb.ListStreamsResponse:
    """The page, of what `streams_request` asked for. Takes 3 microseconds a stream."""
    page = streams[: count_max - 1]
    response = pb.ListStreamsResponse()
    for name, ends in page:
        response.streams.add(
            stream=name,
            last_revision=ends.last_revision,
            first_position=ends.first_position,
            last_position=ends.last_position,
            created_at=ends.created_at,
            updated_at=ends.updated_at,
            first_revision=ends.first_revision,
            event_count=ends.last_revision + 1 - ends.first_revision,
            ending=rulings.ending_value(ends.ending),
        )
    if len(streams) == count_max:
        response.next_page_token = page[-1].name
    return response


def trace_request(request: pb.ReadTraceRequest) -> TraceRequest:
    """The page asked for. Raises `InvalidInput` with every bad field."""
    validation.check(request)
    position, _, incarnation = request.page_token.partition("-")
    return TraceRequest(
        correlation_id=request.correlation_id,
        after=Position(int(position or 0)),
        read_in=incarnation,
        count_max=domain.page_size(request.page_size),
        header_bytes_max=TRACE_BYTES_MAX,
    )


def trace_response(trace: Trace) -> pb.ReadTraceResponse:
    """A page. Takes 5 microseconds an event."""
    response = pb.ReadTraceResponse(incarnation=trace.incarnation)
    for header, depth, cause in trace.events:
        event = response.events.add(recorded=record.without_payload(header), depth=depth)
        if cause is not None:
            position, correlation_id, stream, event_type = cause
            event.cause.position = position
            event.cause.correlation_id = correlation_id
            event.cause.stream = stream
            event.cause.type = event_type
    if trace.next_after:
        response.next_page_token = f"{trace.next_after}-{trace.incarnation}"
    return response


def database_response(status: DatabaseStatus) -> pb.GetDatabaseStatusResponse:
    """The database and the pool, as they are now."""
    return pb.GetDatabaseStatusResponse(
        reachable=status.latency_ms is not None,
        latency_ms=status.latency_ms or 0.0,
        server_version=status.server_version,
        pool_size=status.pool_size,
        pool_idle=status.pool_idle,
        pool_waiting=status.pool_waiting,
        pool_size_min=status.pool_size_min,
        pool_size_max=status.pool_size_max,
    )
