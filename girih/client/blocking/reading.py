"""A read that goes on with what is committed, and resumes by itself, without asyncio."""

import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Self

from girih.client.blocking.calls import WatchedCall, begun, metadata_of, resumed
from girih.client.caller import Caller
from girih.client.context import ACCEPTED_S_MAX
from girih.client.cursors import Batch, ReadCursor
from girih.client.errors import GirihError
from girih.client.events import RecordedEvent
from girih.events.v1 import events_pb2 as pb
from girih.ids import Position

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceStub


class Subscription:
    """As `girih.client.Subscription`. `close`, from any thread, ends it: what iterates over it
    then comes to its end."""

    def __init__(
        self,
        stub: "EventStoreServiceStub",
        caller: Caller,
        request: pb.ReadRequest,
        *,
        on_connected: Callable[[], None] | None = None,
        on_interrupted: Callable[[GirihError], None] | None = None,
        on_looked: Callable[[], None] | None = None,
    ) -> None:
        self._stub = stub
        self._caller = caller
        self._cursor = ReadCursor(request)
        self._on_connected = on_connected
        self._on_interrupted = on_interrupted
        self._on_looked = on_looked
        self._context_metadata = caller.context().metadata()
        self._call: WatchedCall | None = None
        self._closed = threading.Event()
        self.is_connected = False
        """A call is open. A server that vanished without a word is noticed within 40 s."""

    @property
    def position(self) -> Position | None:
        """Everything up to there was looked at, and seen if it was wanted: go on behind it later.
        None before there is such a place, and with a stream."""
        return self._cursor.position

    @property
    def incarnation(self) -> str:
        """The incarnation of the log that the last event seen is from."""
        return self._cursor.request.incarnation

    @property
    def is_caught_up(self) -> bool:
        """All of the log that was committed has come, and what comes is live. False while no call
        is open, or this is slower than the log; and with a stream."""
        return self.is_connected and self._cursor.is_caught_up

    def __iter__(self) -> Iterator[RecordedEvent]:
        for batch in self.batches():
            yield from batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        if (call := self._call) is not None:
            call.cancel()

    def batches(self) -> Generator[Batch]:
        """Ends only with `close`."""
        return resumed(
            self._one_call, self._caller.resumption(), self._closed, self._on_interrupted
        )

    def _one_call(self) -> Generator[Batch]:
        metadata = metadata_of(self._caller, self._context_metadata, self._caller.retry.attempt_s)
        with WatchedCall(begun(self._stub.Read, self._cursor.begin(), metadata=metadata)) as call:
            self._call = call
            if self._closed.is_set():
                return
            try:
                self.is_connected = call.accepted(ACCEPTED_S_MAX)
                if self.is_connected and self._on_connected is not None:
                    self._on_connected()
                while (response := call.next(None)) is not None:
                    if (batch := self._cursor.take(response)) is not None:
                        yield batch
                    elif self._on_looked is not None:
                        self._on_looked()
            except GirihError as error:
                self._caller.note(error, metadata)
                raise
            finally:
                self.is_connected = False
