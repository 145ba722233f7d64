"""Where a streamed answer goes on when its call breaks off: each part once, and in order.

Decisions over messages, for both stacks of gRPC. Knows no call.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from girih.client import wire
from girih.client.events import LoadedStream, RecordedEvent, Snapshot
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import snapshots_pb2
from girih.ids import NO_POSITION, Position

Batch = Sequence[RecordedEvent]
"""Events as they came together, at least one."""

Request_co = TypeVar("Request_co", covariant=True)
Response_contra = TypeVar("Response_contra", contravariant=True)
Part_co = TypeVar("Part_co", covariant=True)


class Cursor(Protocol[Request_co, Response_contra, Part_co]):
    """What is left to be answered."""

    def begin(self) -> Request_co:
        """A call begins: the request for what was not answered yet."""

    @property
    def is_done(self) -> bool:
        """Nothing can be left."""

    def take(self, response: Response_contra) -> Part_co | None:
        """What a response brings, which from now on was answered; None when that is nothing."""


class ReadCursor:
    """Where a read of events goes on."""

    def __init__(self, request: pb.ReadRequest) -> None:
        self.request: Final = request
        """The one that goes on where this is."""
        self.is_done = False
        self.is_caught_up = False
        """With `follow`: all that was committed has come in the last call."""

    @property
    def position(self) -> Position | None:
        """Of the last event that was looked at; None when that is not known."""
        request = self.request
        if request.stream or not request.HasField("from_position"):
            return None
        return Position(request.from_position - self._step)

    def begin(self) -> pb.ReadRequest:
        self.is_caught_up = False
        return self.request

    def take(self, response: pb.ReadResponse) -> Batch | None:
        request = self.request
        request.incarnation = response.incarnation or request.incarnation
        if not response.events:
            signal = response.WhichOneof("signal")
            self.is_caught_up = _CATCHING_UP.get(signal, self.is_caught_up)
            if signal is not None and not request.stream:
                self._pass(getattr(response, signal).position)
            return None
        self._pass_over(response)
        return wire.recorded_events(response)

    @property
    def _step(self) -> int:
        return -1 if self.request.direction == pb.DIRECTION_BACKWARDS else 1

    def _pass(self, position: int) -> None:
        """Everything up to there was looked at."""
        self.request.ClearField("from_time")
        self.request.from_position = max(1, position + self._step)
        self.is_done = position + self._step < 1

    def _pass_over(self, response: pb.ReadResponse) -> None:
        request, batch, last = self.request, response.events, response.events[-1]
        if request.stream:
            request.ClearField("from_position")
            request.ClearField("from_time")
            request.from_revision = max(0, last.revision + self._step)
            self.is_done = last.revision + self._step < 0
        else:
            self._pass(last.position)
        if request.limit:
            left = request.limit - len(batch)
            self.is_done |= left <= 0
            request.limit = max(1, left)


_CATCHING_UP: Final = {"caught_up": True, "fell_behind": False}
"""What signals tell of a read that follows."""


class LoadCursor:
    """What came of a stream. A call that breaks off is made again from the beginning."""

    is_done: Final = False

    def __init__(self, request: snapshots_pb2.LoadStreamRequest) -> None:
        self._request = request
        self._snapshot: Snapshot | None = None
        self._events: list[RecordedEvent] = []
        self._incarnation = ""
        self._head = NO_POSITION

    def begin(self) -> snapshots_pb2.LoadStreamRequest:
        self._snapshot = None
        self._events.clear()
        return self._request

    def take(self, response: snapshots_pb2.LoadStreamResponse) -> bool:
        self._incarnation = response.incarnation
        self._head = Position(response.head_position) or self._head
        if response.HasField("snapshot"):
            self._snapshot = wire.snapshot(response.snapshot)
        self._events += wire.recorded_events(response)
        return True

    def loaded(self) -> LoadedStream:
        """All that the last call brought."""
        return LoadedStream(
            snapshot=self._snapshot,
            events=tuple(self._events),
            incarnation=self._incarnation,
            head=self._head,
        )
