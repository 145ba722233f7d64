"""What one request caused, as a tree, of a log in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.testing.log import Log, log_replaced
from girih.testing.streams import left_of

_PAGE_BYTES_MAX: Final = 2**20


def trace(log: Log, request: pb.ReadTraceRequest, count_max: int) -> pb.ReadTraceResponse:
    """A page: its events each behind what caused it."""
    response = pb.ReadTraceResponse(incarnation=log.incarnation)
    rows, is_end = _rows(log, request, count_max)
    for depth, row in _tree(rows, {row.position: _cause(log, row) for row in rows}):
        traced = response.events.add(recorded=row, depth=depth)
        cause = _cause(log, row)
        if cause is not None:
            traced.cause.position = cause.position
            traced.cause.correlation_id = cause.context.correlation_id
            traced.cause.stream, traced.cause.type = cause.event.stream, cause.event.type
    if not is_end:
        response.next_page_token = f"{rows[-1].position}-{log.incarnation}"
    return response


def _rows(
    log: Log, request: pb.ReadTraceRequest, count_max: int
) -> tuple[list[pb.RecordedEvent], bool]:
    """The events of the page without their payloads, and whether there are no more."""
    rows: list[pb.RecordedEvent] = []
    byte_count, now = 0, log.now()
    position, _, incarnation = request.page_token.partition("-")
    if int(position or 0) and incarnation not in ("", log.incarnation):
        raise log_replaced(log)
    for event in log.events[int(position or 0) :]:
        if event.context.correlation_id != request.correlation_id or log.hides(event, now):
            continue
        row = pb.RecordedEvent()
        row.CopyFrom(left_of(event, log.gone(event, now)))
        row.event.ClearField("payload")
        byte_count += row.ByteSize()
        if len(rows) == count_max or (rows and byte_count > _PAGE_BYTES_MAX):
            return rows, False
        rows.append(row)
    return rows, True


def _cause(log: Log, row: pb.RecordedEvent) -> pb.RecordedEvent | None:
    causation_id = row.context.causation_id
    return None if causation_id == row.event.id else log.find(causation_id)


def _tree(
    rows: Sequence[pb.RecordedEvent], causes: Mapping[int, pb.RecordedEvent | None]
) -> Iterator[tuple[int, pb.RecordedEvent]]:
    """Each with its depth. What lies behind an event has not caused it, so no tree has a circle."""
    positions = {row.position for row in rows}
    caused: dict[int, list[pb.RecordedEvent]] = {}
    roots = []
    for row in rows:
        cause = causes[row.position]
        if cause is not None and cause.position < row.position and cause.position in positions:
            caused.setdefault(cause.position, []).append(row)
        else:
            roots.append(row)
    left = [(0, row) for row in reversed(roots)]
    while left:
        depth, row = left.pop()
        yield depth, row
        left += [(depth + 1, one) for one in reversed(caused.get(row.position, ()))]
