"""Reads that resume by themselves: each event once and in order, over any number of calls."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from girih.client import wire
from girih.client.calls import Caller, next_response
from girih.client.errors import (
    EventStoreError,
    Unauthenticated,
    Unavailable,
)
from girih.client.events import RecordedEvent
from girih.events.v1 import events_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.events_pb2_grpc import EventStoreServiceAsyncStub

Batch = Sequence[RecordedEvent]
"""Events as they came together, at least one."""

ReadCall = grpc.aio.UnaryStreamCall[pb.ReadRequest, pb.ReadResponse]

_LASTED_S: Final = 1.0
"""A call that lasted so long has done its work: the next begins without a pause."""


class ReadCursor:
    """Where a read goes on."""

    def __init__(self, request: pb.ReadRequest) -> None:
        self.request: Final = request
        """The request for what was not read yet."""
        self.is_done = False
        """Nothing can be left."""

    def pass_over(self, response: pb.ReadResponse) -> None:
        """These were read."""
        request, batch, last = self.request, response.events, response.events[-1]
        request.incarnation = response.incarnation or request.incarnation
        step = -1 if request.direction == pb.DIRECTION_BACKWARDS else 1
        if request.stream:
            request.ClearField("from_position")
            request.from_revision = max(0, last.revision + step)
            self.is_done = last.revision + step < 0
        else:
            request.from_position = max(1, last.position + step)
            self.is_done = last.position + step < 1
        if request.limit:
            left = request.limit - len(batch)
            self.is_done |= left <= 0
            request.limit = max(1, left)


async def read_batches(
    stub: "EventStoreServiceAsyncStub", caller: Caller, request: pb.ReadRequest
) -> AsyncGenerator[Batch]:
    """What the request asks for, up to its end; raises EventStoreError."""
    context = caller.context()
    context_metadata = context.metadata()
    cursor, attempts = ReadCursor(request), caller.attempts(context)
    while not cursor.is_done:
        attempt_s = attempts.begin()
        call: ReadCall | None = None
        try:
            metadata = await caller.metadata(context_metadata, attempt_s)
            call = stub.Read(cursor.request, metadata=metadata)
            while response := await next_response(call, attempt_s):
                if response.events:
                    cursor.pass_over(response)
                    yield wire.recorded_events(response)
                attempts.progressed()
                attempt_s = attempts.begin()
        except EventStoreError as error:
            await attempts.pause_after(error)
        else:
            return
        finally:
            if call is not None:
                call.cancel()


class Subscription:
    """A read that goes on with events as they are committed, and resumes by itself.

    Iterate over it, or over its `batches`, once. It resumes after the last event seen when
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
        on_interrupted: Callable[[EventStoreError], None] | None = None,
    ) -> None:
        self._stub = stub
        self._caller = caller
        self._cursor = ReadCursor(request)
        self._on_connected = on_connected
        self._on_interrupted = on_interrupted
        self._context_metadata = caller.context().metadata()
        self.is_connected = False
        """A call is open. A server that vanished without a word is noticed within 40 s."""

    @property
    def incarnation(self) -> str:
        """The incarnation of the log that the last event seen is from. Keep it with the place
        that you go on from later: so you are told when the log was replaced meanwhile."""
        return self._cursor.request.incarnation

    def __aiter__(self) -> AsyncGenerator[RecordedEvent]:
        return self._events()

    async def batches(self) -> AsyncGenerator[Batch]:
        """Never ends by itself. Close it (`contextlib.aclosing`) to end the call at once."""
        backoff = self._caller.retry.backoff()
        while True:
            began_s = time.monotonic()
            try:
                async with aclosing(self._one_call()) as batches:
                    async for batch in batches:
                        backoff.reset()
                        yield batch
                error: EventStoreError = Unavailable.no_answer("the server ended the call")
            except EventStoreError as problem:
                error = problem
            if not self._may_resume(error):
                raise error
            if self._on_interrupted is not None:
                self._on_interrupted(error)
            if time.monotonic() - began_s >= _LASTED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s(error.retry_after_s))

    async def _events(self) -> AsyncGenerator[RecordedEvent]:
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def _one_call(self) -> AsyncGenerator[Batch]:
        timeout_s = self._caller.retry.attempt_timeout_s
        metadata = await self._caller.metadata(self._context_metadata, timeout_s)
        call: ReadCall = self._stub.Read(self._cursor.request, metadata=metadata)
        try:
            await _accepted(call, timeout_s)
            self.is_connected = True
            if self._on_connected is not None and not call.done():
                await self._on_connected()
            while response := await next_response(call, None):
                if response.events:
                    self._cursor.pass_over(response)
                    yield wire.recorded_events(response)
        finally:
            self.is_connected = False
            call.cancel()

    def _may_resume(self, error: EventStoreError) -> bool:
        if isinstance(error, Unauthenticated):
            return error.is_expired and self._caller.renews_token
        return isinstance(error, Unavailable)


async def _accepted(call: ReadCall, timeout_s: float) -> None:
    """Return once the server has taken the call, or has ended it."""
    try:
        async with asyncio.timeout(timeout_s):
            await call.initial_metadata()
    except TimeoutError as error:
        raise Unavailable.no_answer("the event store did not take the call in time") from error
