"""The rpcs of `EventStoreService` on logs in memory."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.rules import rulings as rules
from girih.testing import checking, reading
from girih.testing.calls import Call, TooLarge, check
from girih.testing.log import Log, category_of
from girih.testing.refusals import Refused
from girih.testing.rulings import (
    Ruling,
    beyond_stream,
    gone_by,
    metadata_changed,
    redacted,
    rule,
    stream_not_found,
)
from girih.testing.streams import Stream
from girih.testing.traces import trace

_PAGE_SIZE: Final = 100
_PAGE_SIZE_MAX: Final = 1_000

LogOf = Callable[[str], Log]
"""The log of a tenant."""


class EventStoreServicer:
    """The log of the calling tenant."""

    def __init__(self, log_of: LogOf) -> None:
        self._log_of = log_of

    def Append(self, request: pb.AppendRequest, call: Call) -> pb.AppendResponse:
        checking.checked_append(request)
        log = self._log_of(call.tenant)
        with log.changed:
            placements = log.append(request.events, request.preconditions, _context(call))
            return pb.AppendResponse(placements=placements, incarnation=log.incarnation)

    def AppendStream(
        self, requests: Iterator[pb.AppendStreamRequest | TooLarge], call: Call
    ) -> Iterator[pb.AppendStreamResponse]:
        for request in requests:
            try:
                call.check_valid()
                yield self._append_one(request, call)
            except Refused as refused:
                yield pb.AppendStreamResponse(refusal=refused.status())

    def Read(self, request: pb.ReadRequest, call: Call) -> Iterator[pb.ReadResponse]:
        checking.check_read(request)
        log = self._log_of(call.tenant)
        if request.follow:
            return reading.follow(log, request, call)
        call.accept()
        return reading.read(log, request, call)

    def ReadTrace(self, request: pb.ReadTraceRequest, call: Call) -> pb.ReadTraceResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            return trace(log, request, page_size(request.page_size))

    def GetStream(self, request: pb.GetStreamRequest, call: Call) -> pb.GetStreamResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            stream = log.streams.get(request.stream)
            if stream is None:
                raise stream_not_found(request.stream)
            response = pb.GetStreamResponse(
                metadata=stream.metadata,
                metadata_version=stream.metadata_version,
                retention=stream.retention,
            )
            _describe(stream, response)
            return response

    def ListStreams(self, request: pb.ListStreamsRequest, call: Call) -> pb.ListStreamsResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            names = sorted(
                name
                for name in log.streams
                if name > request.page_token
                and name.startswith(request.prefix)
                and request.category in ("", category_of(name))
            )
            page, token = _page(names, request.page_size)
            response = pb.ListStreamsResponse(next_page_token=token)
            for name in page:
                _describe(log.streams[name], response.streams.add())
            return response

    def ListCategories(
        self, request: keeping_pb.ListCategoriesRequest, call: Call
    ) -> keeping_pb.ListCategoriesResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            categories: dict[str, list[Stream]] = {}
            for stream in log.streams.values():
                categories.setdefault(category_of(stream.name), []).append(stream)
            page, token = _page(_behind(categories, request.page_token), request.page_size)
            rows = [
                keeping_pb.Category(
                    category=name,
                    stream_count=len(categories[name]),
                    event_count=sum(len(stream.events) for stream in categories[name]),
                )
                for name in page
            ]
            return keeping_pb.ListCategoriesResponse(
                categories=rows, next_page_token=token, counted_position=log.head
            )

    def ListEventTypes(
        self, request: keeping_pb.ListEventTypesRequest, call: Call
    ) -> keeping_pb.ListEventTypesResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            counts: dict[str, int] = {}
            for recorded in log.events:
                counts[recorded.event.type] = counts.get(recorded.event.type, 0) + 1
            page, token = _page(_behind(counts, request.page_token), request.page_size)
            rows = [keeping_pb.EventType(type=name, event_count=counts[name]) for name in page]
            return keeping_pb.ListEventTypesResponse(
                types=rows, next_page_token=token, counted_position=log.head
            )

    def GetLog(self, request: pb.GetLogRequest, call: Call) -> pb.GetLogResponse:
        check(request)
        log = self._log_of(call.tenant)
        with log.changed:
            return pb.GetLogResponse(head_position=log.head, incarnation=log.incarnation)

    def GetPosition(self, request: pb.GetPositionRequest, call: Call) -> pb.GetPositionResponse:
        checking.check_position(request)
        log = self._log_of(call.tenant)
        with log.changed:
            position = log.position_at(request.time.ToDatetime(tzinfo=UTC))
            return pb.GetPositionResponse(position=position, incarnation=log.incarnation)

    def SetStreamMetadata(
        self, request: keeping_pb.SetStreamMetadataRequest, call: Call
    ) -> keeping_pb.SetStreamMetadataResponse:
        checking.check_metadata(request)

        def check_version(stream: Stream) -> None:
            is_asked = request.HasField("expected_version")
            if is_asked and request.expected_version != stream.metadata_version:
                raise metadata_changed(stream.metadata_version)

        def apply(stream: Stream, ruling: pb.RecordedEvent) -> None:
            stream.metadata, stream.metadata_version = request.metadata, ruling.position

        event = rules.metadata_event(request)
        version = self._rule(Ruling(request.stream, event, apply, check_version), call)
        return keeping_pb.SetStreamMetadataResponse(version=version)

    def SetStreamRetention(
        self, request: keeping_pb.SetStreamRetentionRequest, call: Call
    ) -> keeping_pb.SetStreamRetentionResponse:
        check(request)
        retention = request.retention

        def check_before(stream: Stream) -> None:
            if retention.truncate_before > stream.last_revision + 1:
                raise beyond_stream(stream.last_revision)

        def apply(stream: Stream, ruling: pb.RecordedEvent) -> None:
            stream.retain(retention, gone_by(keeping_pb.GONE_REASON_RETENTION, ruling))

        event = rules.retention_event(request)
        position = self._rule(Ruling(request.stream, event, apply, check_before), call)
        return keeping_pb.SetStreamRetentionResponse(position=position)

    def DeleteStream(
        self, request: keeping_pb.DeleteStreamRequest, call: Call
    ) -> keeping_pb.DeleteStreamResponse:
        position = self._end(request, call, for_ever=False)
        return keeping_pb.DeleteStreamResponse(position=position)

    def TombstoneStream(
        self, request: keeping_pb.TombstoneStreamRequest, call: Call
    ) -> keeping_pb.TombstoneStreamResponse:
        position = self._end(request, call, for_ever=True)
        return keeping_pb.TombstoneStreamResponse(position=position)

    def RedactEvent(
        self, request: keeping_pb.RedactEventRequest, call: Call
    ) -> keeping_pb.RedactEventResponse:
        check(request)
        log = self._log_of(call.tenant)

        def apply(stream: Stream, ruling: pb.RecordedEvent) -> None:
            stream.redact(request.position, gone_by(keeping_pb.GONE_REASON_REDACTED, ruling))

        with log.changed:
            event = redacted(log, request).event
            redaction = rules.redaction_event(request, stream=event.stream, event_id=event.id)
            position = rule(log, Ruling(event.stream, redaction, apply), _context(call))
        return keeping_pb.RedactEventResponse(position=position)

    def _append_one(
        self, request: pb.AppendStreamRequest | TooLarge, call: Call
    ) -> pb.AppendStreamResponse:
        if isinstance(request, TooLarge):
            raise request.refusal
        checking.checked_append(request)
        log = self._log_of(call.tenant)
        with log.changed:
            placements = log.append(request.events, request.preconditions, _context(call))
            return pb.AppendStreamResponse(placements=placements, incarnation=log.incarnation)

    def _end(self, request: rules.AnyEndingRequest, call: Call, *, for_ever: bool) -> int:
        check(request)
        expected = []
        if request.HasField("expected_revision"):
            revision = request.expected_revision
            expected = [pb.Precondition(stream=request.stream, revision=revision)]

        def apply(stream: Stream, ruling: pb.RecordedEvent) -> None:
            stream.end(gone_by(keeping_pb.GONE_REASON_DELETED, ruling), for_ever=for_ever)

        event = rules.ending_event(request)
        return self._rule(Ruling(request.stream, event, apply, expected=expected), call)

    def _rule(self, ruling: Ruling, call: Call) -> int:
        log = self._log_of(call.tenant)
        with log.changed:
            return rule(log, ruling, _context(call))


def page_size(requested: int) -> int:
    return min(requested or _PAGE_SIZE, _PAGE_SIZE_MAX)


def _context(call: Call) -> pb.Context:
    return pb.Context(
        correlation_id=call.correlation_id, causation_id=call.causation_id, actor=call.actor
    )


def _describe(stream: Stream, message: pb.Stream | pb.GetStreamResponse) -> None:
    first, last = stream.events[0], stream.events[-1]
    message.stream = stream.name
    message.last_revision = stream.last_revision
    message.first_position, message.last_position = first.position, last.position
    message.created_at.CopyFrom(first.recorded_at)
    message.updated_at.CopyFrom(last.recorded_at)
    message.first_revision = stream.first_revision()
    message.event_count = len(stream.events) - message.first_revision
    message.ending = stream.ending


def _behind(names: Iterable[str], token: str) -> list[str]:
    """As bytes compare."""
    return sorted((one for one in names if one.encode() > token.encode()), key=str.encode)


def _page(names: list[str], requested: int) -> tuple[list[str], str]:
    """The first of them, and what asks for the next page."""
    size = page_size(requested)
    return names[:size], names[size - 1] if len(names) > size else ""
