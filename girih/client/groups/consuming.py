"""A consumer of a group that resumes by itself, with asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Self

import grpc.aio

from girih.client.caller import Caller
from girih.client.calls import WrittenCall, begun, metadata_of, next_response, resumed
from girih.client.context import bind_context
from girih.client.errors import GirihError, Unavailable
from girih.client.groups import handling
from girih.client.groups.in_flight import InFlight, Message
from girih.events.v1 import groups_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.groups_pb2_grpc import GroupServiceAsyncStub

ConsumeCall = WrittenCall[pb.ConsumeResponse]
AsyncMessage = Message["asyncio.Future[None]"]

_GRACE_S: Final = 10.0
"""How long handlers may take that run when the consumer is closed, and then what was said."""


class AsyncConsumer:
    """The messages of a group that are given to this consumer, for as long as it is open.

        async with girih.consume("mailing") as messages:
            async for message in messages:
                await send_mail(message.event)
                message.ack()

    Iterate over it once, or have `handle` do it. Messages of one stream, or key, come one after
    the other; of several, up to `credits` are there at once. It resumes when the connection is
    lost, the token has expired or the server shuts down, and waits for one that is away. What was
    given before is lost then: its `ack` raises LeaseLost, or what the call ended with. It never
    gives a message whose lease may have run out: it waits until the service says that it has not.

    Raises GroupNotFound and LogReplaced, and what is refused for good.
    """

    def __init__(
        self,
        stub: "GroupServiceAsyncStub",
        caller: Caller,
        start: pb.ConsumerStart,
        *,
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> None:
        self._stub = stub
        self._caller = caller
        self._on_interrupted = on_interrupted
        self._context_metadata = caller.context().metadata()
        self._closed = asyncio.Event()
        self._changed = asyncio.Event()
        """Something came, or is to be sent, or the consumer is closed."""
        self._to_send = asyncio.Event()
        self._inbox: asyncio.Queue[AsyncMessage | None] = asyncio.Queue()
        self._is_leaving = False
        self._running: AsyncGenerator[AsyncMessage] | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._in_flight: InFlight[asyncio.Future[None]] = InFlight(
            start, new_outcome=_new_outcome, wake=self._to_send.set
        )

    def __aiter__(self) -> AsyncGenerator[AsyncMessage]:
        self._running = self._messages()
        return self._running

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    def close(self) -> None:
        """Take no more: what iterates, or handles, comes to its end. What was said is made durable,
        and the lanes are free for others at once."""
        self._closed.set()
        self._changed.set()
        self._inbox.put_nowait(None)

    async def aclose(self) -> None:
        """The same, and be done with it where nobody iterates just now."""
        self.close()
        if self._running is not None:
            with suppress(RuntimeError):  # somebody does, and will see that it has ended
                await self._running.aclose()

    async def handle(
        self, handler: Callable[[AsyncMessage], Awaitable[object]], *, concurrency: int = 1
    ) -> None:
        """Have every message handled, up to `concurrency` of them at once, until `close`.

        A message is acknowledged when its handler returns, unless that has said something else of
        it. One whose handler raises `RetryLater` or `Park` is tried later, or parked; with any
        other Exception it is tried again after 1 s, and after twice as long each time, up to a
        minute. Calls made by the handler carry the correlation id of the event, and its id as
        causation id.
        """
        free = asyncio.Semaphore(concurrency)
        try:
            async with aclosing(aiter(self)) as messages:
                async for message in messages:
                    await free.acquire()
                    task = asyncio.create_task(self._handle(handler, message), name="handle")
                    self._handlers.add(task)
                    task.add_done_callback(self._handlers.discard)
                    task.add_done_callback(lambda _: free.release())
        finally:
            for task in self._handlers:
                task.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _handle(
        self, handler: Callable[[AsyncMessage], Awaitable[object]], message: AsyncMessage
    ) -> None:
        if not await self._may_begin(message):
            return
        error: BaseException | None = None
        try:
            with bind_context(handling.context_of(message)):
                await handler(message)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = cancelled  # of something that the handler waited for
        except Exception as raised:  # noqa: BLE001 - it is told to the group
            error = raised
        handling.settle(message, error)

    async def _messages(self) -> AsyncGenerator[AsyncMessage]:
        parts = resumed(
            self._one_call, self._caller.resumption(), self._closed, self._on_interrupted
        )
        async with aclosing(parts) as messages:
            async for message in messages:
                yield message

    async def _one_call(self) -> AsyncGenerator[AsyncMessage]:
        timeout_s = self._caller.retry.attempt_s
        metadata = await metadata_of(self._caller, self._context_metadata, timeout_s)
        call: ConsumeCall = WrittenCall(begun(self._stub.Consume, metadata=metadata))
        inbox = self._inbox = asyncio.Queue()
        self._is_leaving = False
        first = self._in_flight.begin()
        reading = asyncio.create_task(self._read(call, inbox, timeout_s), name="read messages")
        writing = asyncio.create_task(self._write(call, first), name="write outcomes")
        try:
            while (message := await inbox.get()) is not None and not self._closed.is_set():
                if await self._may_begin(message):
                    yield message
            if not self._closed.is_set():
                await reading
        except GirihError as error:
            self._caller.note(error, metadata)
            raise
        finally:
            await self._leave(call, reading, writing)

    async def _read(
        self, call: ConsumeCall, inbox: "asyncio.Queue[AsyncMessage | None]", timeout_s: float
    ) -> None:
        """Until the call ends; raises GirihError."""
        error: GirihError = Unavailable.no_answer("the server ended the call")
        wait_s: float | None = timeout_s
        try:
            while (response := await next_response(call, wait_s)) is not None:
                wait_s = None
                for message in self._in_flight.take(response):
                    inbox.put_nowait(message)
                self._changed.set()
        except GirihError as problem:
            error = problem
            raise
        finally:
            self._in_flight.end(error)
            inbox.put_nowait(None)
            self._changed.set()

    async def _write(self, call: ConsumeCall, first: pb.ConsumeRequest) -> None:
        # Why a call takes no more is learnt from reading it.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(first)
            while True:
                self._to_send.clear()
                is_last = self._is_leaving
                for request in self._in_flight.requests():
                    await call.write(request)
                if is_last:
                    await call.done_writing()
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._in_flight.due_in_s()):
                        await self._to_send.wait()

    async def _may_begin(self, message: AsyncMessage) -> bool:
        """Whether a message may be handled, once that is certain."""
        while message.is_held and not self._in_flight.is_certain():
            if self._closed.is_set():
                return False
            self._changed.clear()
            await self._changed.wait()
        return message.is_held

    async def _leave(
        self, call: ConsumeCall, reading: "asyncio.Task[None]", writing: "asyncio.Task[None]"
    ) -> None:
        """Say what there is to say, and end the call in order where it has not ended."""
        try:
            if not call.done():
                await self._finish(reading)
        finally:
            call.cancel()
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _finish(self, reading: "asyncio.Task[None]") -> None:
        """Wait for handlers that run, and until what was said is durable."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                if self._handlers:
                    await asyncio.wait(list(self._handlers))
                # The writer ends the requests: a write that is cancelled would cancel the call.
                self._is_leaving = True
                self._to_send.set()
                await asyncio.wait([reading])


def _new_outcome() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()
