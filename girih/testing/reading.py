"""Reads and follows a log in memory, in responses as the event store sends them.

What is sent was looked at under the log's lock, and is sent without it.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.testing.calls import Call
from girih.testing.log import Log, is_meant, log_replaced
from girih.testing.refusals import Refused
from girih.testing.streams import left_of

_PAGE_BYTES_MAX: Final = 2**19
_PAGE_COUNT_MAX: Final = 1_000
_LOOKED_AT_MAX: Final = 10_000
"""Events that a page looks at."""
_CHECKPOINT_INTERVAL_S: Final = 0.5
"""No sooner than so after it was told last how far it is a follower is told again."""
_NO_LIMIT: Final = 2**63


def read(log: Log, request: pb.ReadRequest, call: Call) -> Iterator[pb.ReadResponse]:
    """What there is, up to its end as of the last page."""
    with log.changed:
        reading = _Reading(log, request)
        reading.check_incarnation()
    while True:
        call.check_valid()
        with log.changed:
            responses = list(reading.page())
        yield from responses
        if reading.is_over:
            return


def follow(log: Log, request: pb.ReadRequest, call: Call) -> Iterator[pb.ReadResponse]:
    """The same, and then what comes. Accepts the call once its place is known."""
    with log.changed:
        reading = _Reading(log, request)
        reading.check_incarnation()
        reading.check_end()
    call.accept()
    call.on_end(lambda: _wake(log))
    signals = _Signals(reading, request)
    while reading.left:
        with log.changed:
            # Under the lock that whoever changes it notifies with.
            if not call.is_active():
                return
            call.check_valid()
            responses = list(reading.page())
            responses += signals.due(responses)
            if not responses and reading.is_at_end:
                signals.wait()
                responses += signals.heartbeat()
        yield from responses


def _wake(log: Log) -> None:
    with log.changed:
        log.changed.notify_all()


class _Reading:
    """One reader: what it wants, and how far it is."""

    def __init__(self, log: Log, request: pb.ReadRequest) -> None:
        self._log = log
        self._request = request
        self._is_backwards = request.direction == pb.DIRECTION_BACKWARDS
        # One that follows a stream looks at the log, so as to know how far that is.
        self._is_of_stream = bool(request.stream) and not request.follow
        self._at = self._start()
        self.left = request.limit or _NO_LIMIT
        self.is_over = False

    @property
    def position(self) -> int:
        """Everything up to there was looked at."""
        return self._at

    @property
    def incarnation(self) -> str:
        return self._log.incarnation

    @property
    def head(self) -> int:
        return self._log.head

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._items())

    def check_end(self) -> None:
        """Refuse to wait for what the log will not hold."""
        request, log = self._request, self._log
        if request.from_position > log.head + 1:
            message = f"the log ends at position {log.head}"
            raise Refused("BEYOND_END", message, {"head_position": log.head})
        stream = log.streams.get(request.stream)
        count = len(stream.events) if stream is not None else 0
        if request.from_revision > count:
            message = f"the stream has {count} events"
            raise Refused("BEYOND_END", message, {"event_count": count})

    def check_incarnation(self) -> None:
        request = self._request
        is_first = not self._is_backwards and self._at == 0 and not request.from_revision
        if request.incarnation in ("", self._log.incarnation) or is_first:
            return
        raise log_replaced(self._log)

    def wait(self, timeout_s: float | None) -> None:
        """Until there may be more. The log's lock is let go meanwhile."""
        self._log.changed.wait(timeout_s)

    def page(self) -> Iterator[pb.ReadResponse]:
        """What comes next, and how far it was looked where a filter means nothing there."""
        before = self._at
        response = pb.ReadResponse(incarnation=self._log.incarnation)
        looked_at = self._fill(response)
        if response.events:
            yield response
        is_further = self._at != before and not (
            response.events and response.events[-1].position == looked_at
        )
        if is_further and self._sends_checkpoints:
            signal = pb.ReadResponse(incarnation=self._log.incarnation)
            signal.checkpoint.position = looked_at
            yield signal

    @property
    def _sends_checkpoints(self) -> bool:
        """One that follows is told by its `_Signals`."""
        request = self._request
        return request.progress and request.HasField("filter") and not request.follow

    def _fill(self, response: pb.ReadResponse) -> int:
        """The position looked at last, 0 for none."""
        items, now = self._items(), self._log.now()
        byte_count = looked_at = 0
        for _ in range(_LOOKED_AT_MAX):
            if not (0 <= self._at < len(items) and self.left):
                self.is_over = True
                break
            event = items[self._at]
            shown = self._shown(event, now)
            if shown is not None:
                byte_count += shown.ByteSize()
                is_full = byte_count > _PAGE_BYTES_MAX or len(response.events) == _PAGE_COUNT_MAX
                if response.events and is_full:
                    break
                response.events.append(shown)
                self.left -= 1
            looked_at = event.position
            self._at += -1 if self._is_backwards else 1
        return looked_at

    def _shown(self, event: pb.RecordedEvent, now: datetime) -> pb.RecordedEvent | None:
        """The event as it is read, None when it is not."""
        request = self._request
        if request.stream and event.event.stream != request.stream:
            return None
        if event.position < request.from_position and not self._is_backwards:
            return None
        if request.follow and event.revision < request.from_revision and request.stream:
            return None
        if request.HasField("filter") and not is_meant(event, request.filter):
            return None
        if self._log.hides(event, now) and not request.include_gone:
            return None
        return left_of(event, self._log.gone(event, now))

    def _items(self) -> Sequence[pb.RecordedEvent]:
        if not self._is_of_stream:
            return self._log.events
        stream = self._log.streams.get(self._request.stream)
        return () if stream is None else stream.events

    def _start(self) -> int:
        """The index of the first event that may come."""
        request, items = self._request, self._items()
        if request.HasField("from_time"):
            time = request.from_time.ToDatetime(tzinfo=UTC)
            if not self._is_backwards:
                return bisect_left(items, time, key=_recorded_at)
            return bisect_right(items, time, key=_recorded_at) - 1
        if request.HasField("from_revision") and self._is_of_stream:
            most = len(items) - 1 if self._is_backwards else request.from_revision
            return min(request.from_revision, most)
        if request.HasField("from_position"):
            if not self._is_backwards:
                return bisect_left(items, request.from_position, key=_position)
            return bisect_right(items, request.from_position, key=_position) - 1
        return len(items) - 1 if self._is_backwards else 0


class _Signals:
    """What a follower is told of how far it is, beside events."""

    def __init__(self, reading: _Reading, request: pb.ReadRequest) -> None:
        self._reading = reading
        self._is_asked = request.progress
        has_heartbeat = request.HasField("heartbeat")
        self._heartbeat_s = request.heartbeat.ToTimedelta().total_seconds() if has_heartbeat else 0
        self._has_caught_up = False
        self._reported = reading.position
        self._reported_at_s = self._sent_s = time.monotonic()

    def due(self, sent: Sequence[pb.ReadResponse]) -> Iterator[pb.ReadResponse]:
        """What is to be told now, behind the events that are sent."""
        reading, now_s = self._reading, time.monotonic()
        if sent:
            # Whatever was looked at behind them is yet to be told.
            self._reported = sent[-1].events[-1].position
            self._reported_at_s = self._sent_s = now_s
        if not self._is_asked:
            return
        if reading.is_at_end and not self._has_caught_up:
            self._has_caught_up = True
            yield self._signal("caught_up")
        elif (
            reading.position > self._reported
            and now_s >= self._reported_at_s + _CHECKPOINT_INTERVAL_S
        ):
            yield self._signal("checkpoint")

    def wait(self) -> None:
        """Until there is more, or something is to be told."""
        waits = [self._sent_s + self._heartbeat_s] if self._heartbeat_s else []
        if self._is_asked and self._reading.position > self._reported:
            waits.append(self._reported_at_s + _CHECKPOINT_INTERVAL_S)
        timeout_s = max(0.0, min(waits) - time.monotonic()) if waits else None
        self._reading.wait(timeout_s)

    def heartbeat(self) -> Iterator[pb.ReadResponse]:
        """One where nothing was sent for so long."""
        now_s = time.monotonic()
        if not self._heartbeat_s or now_s < self._sent_s + self._heartbeat_s:
            return
        self._sent_s = now_s
        reading = self._reading
        response = pb.ReadResponse(incarnation=reading.incarnation)
        response.heartbeat.position = reading.position
        response.heartbeat.head_position = reading.head
        response.heartbeat.lag_count = reading.head - reading.position
        response.heartbeat.lag.SetInParent()
        yield response

    def _signal(self, name: str) -> pb.ReadResponse:
        self._reported = self._reading.position
        self._reported_at_s = self._sent_s = time.monotonic()
        response = pb.ReadResponse(incarnation=self._reading.incarnation)
        getattr(response, name).position = self._reported
        return response


def _recorded_at(event: pb.RecordedEvent) -> datetime:
    return event.recorded_at.ToDatetime(tzinfo=UTC)


def _position(event: pb.RecordedEvent) -> int:
    return event.position
