"""A read that goes on with what is committed, and resumes by itself, with asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio

from girih.client.caller import Caller
from girih.client.calls import begun, cancelled_call, metadata_of, next_response, resumed
from girih.client.context import ACCEPTED_S_MAX, is_accepted
from girih.client.cursors import Batch, ReadCursor
from girih.client.errors import GirihError, Unavailable
from girih.client.events import RecordedEvent
from girih.events.v1 import events_pb2 as pb
from girih.ids import Position

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

ReadCall = grpc.aio.UnaryStreamCall[pb.ReadRequest, pb.ReadResponse]


class Subscription:
    """A read that goes on with events as they are committed, and resumes by itself.

    Iterate over it, or over its `batches`, once; `close`, or the end of an `async with` around
    it, ends its call at once. It resumes after the last event seen when
    the connection is lost, the token has expired or the server shuts down, and waits for an
    event store that is away as long as that takes. Raises BeyondEnd and LogReplaced, and what
    is refused for good: PermissionDenied, InvalidRequest, Unauthenticated (unless a new token
    helps).
    """

    def __init__(
        self,
        stub: "EventStoreServiceAsyncStub",
        caller: Caller,
        request: pb.ReadRequest,
        *,
        on_connected: Callable[[], Awaitable[None]] | None = None,
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
        self._running: AsyncGenerator[RecordedEvent] | None = None
        self._call: ReadCall | None = None
        self._closed = asyncio.Event()
        self.is_connected = False
        """A call is open. A server that vanished without a word is noticed within 40 s."""

    @property
    def position(self) -> Position | None:
        """Everything up to there was looked at, and seen if it was wanted: go on behind it later.
        None before there is such a place, and with a stream."""
        return self._cursor.position

    @property
    def incarnation(self) -> str:
        """The incarnation of the log that the last event seen is from. Keep it with the place
        that you go on from later: so you are told when the log was replaced meanwhile."""
        return self._cursor.request.incarnation

    @property
    def is_caught_up(self) -> bool:
        """All of the log that was committed has come, and what comes is live. False while no call
        is open, or this is slower than the log; and with a stream."""
        return self.is_connected and self._cursor.is_caught_up

    def __aiter__(self) -> AsyncGenerator[RecordedEvent]:
        self._running = self._events()
        return self._running

    def close(self) -> None:
        """End the call, from any task of the loop: what iterates comes to its end."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    async def aclose(self) -> None:
        """End the call, and be done with it where nobody iterates just now."""
        self.close()
        if self._running is not None:
            with suppress(RuntimeError):  # somebody does, and will see that it has ended
                await self._running.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    async def batches(self) -> AsyncGenerator[Batch]:
        """Ends only with `close`. Closing this (`contextlib.aclosing`) ends the call at once."""
        parts = resumed(
            self._one_call, self._caller.resumption(), self._closed, self._on_interrupted
        )
        async with aclosing(parts) as batches:
            async for batch in batches:
                yield batch

    async def _events(self) -> AsyncGenerator[RecordedEvent]:
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def _one_call(self) -> AsyncGenerator[Batch]:
        metadata = await metadata_of(
            self._caller, self._context_metadata, self._caller.retry.attempt_s
        )
        if self._closed.is_set():
            return
        call: ReadCall = begun(self._stub.Read, self._cursor.begin(), metadata=metadata)
        self._call = call
        try:
            self.is_connected = await _accepted(call)
            if self.is_connected and self._on_connected is not None:
                await self._on_connected()
            while response := await next_response(call, None):
                if (batch := self._cursor.take(response)) is not None:
                    yield batch
                elif self._on_looked is not None:
                    self._on_looked()
        except GirihError as error:
            self._caller.note(error, metadata)
            raise
        finally:
            self.is_connected = False
            call.cancel()


async def _accepted(call: ReadCall) -> bool:
    """Whether the server has taken the call, once it has or has ended it."""
    try:
        async with asyncio.timeout(ACCEPTED_S_MAX):
            return is_accepted(await call.initial_metadata())
    except TimeoutError:
        raise Unavailable.no_answer("the event store did not take the call in time") from None
    except asyncio.CancelledError as cancelled:
        raise cancelled_call(cancelled) from None
