"""A consumer of a group that resumes by itself, without asyncio."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Self

from girih.client.blocking.calls import WatchedCall, begun, metadata_of, resumed
from girih.client.caller import Caller
from girih.client.context import bind_context
from girih.client.errors import GirihError, Unavailable
from girih.client.groups import handling
from girih.client.groups.in_flight import InFlight, Message
from girih.events.v1 import groups_pb2 as pb

if TYPE_CHECKING:
    from girih.events.v1.groups_pb2_grpc import GroupServiceStub

BlockingMessage = Message[Future[None]]

_GRACE_S: Final = 10.0
"""How long handlers may take that run when the consumer is closed, and then what was said."""


class Consumer:
    """As `girih.client.AsyncConsumer`, for a loop or handlers in threads. `close`, from any thread,
    ends it: what iterates over it then comes to its end."""

    def __init__(
        self,
        stub: "GroupServiceStub",
        caller: Caller,
        start: pb.ConsumerStart,
        *,
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> None:
        self._stub = stub
        self._caller = caller
        self._on_interrupted = on_interrupted
        self._context_metadata = caller.context().metadata()
        self._closed = threading.Event()
        self._changed = threading.Condition()
        """Something came, or is to be sent, or the consumer is closed."""
        self._to_send = threading.Event()
        self._is_leaving = False
        self._running: Generator[BlockingMessage] | None = None
        self._inbox: SimpleQueue[BlockingMessage | None] = SimpleQueue()
        self._handled: set[Future[None]] = set()
        self._in_flight: InFlight[Future[None]] = InFlight(
            start, new_outcome=_new_outcome, wake=self._to_send.set
        )

    def __iter__(self) -> Generator[BlockingMessage]:
        self._running = self._messages()
        return self._running

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()
        if self._running is not None:
            with suppress(ValueError):  # another thread iterates, and will see that it has ended
                self._running.close()

    def close(self) -> None:
        """Take no more. What was said is made durable, and the lanes are free at once."""
        self._closed.set()
        self._inbox.put(None)
        self._notify()

    def handle(self, handler: Callable[[BlockingMessage], object], *, concurrency: int = 1) -> None:
        """Have every message handled by `concurrency` threads, until `close`. As that of
        AsyncConsumer."""
        free = threading.Semaphore(concurrency)

        def done(future: "Future[None]") -> None:
            self._handled.discard(future)
            free.release()

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="girih handler")
        with pool as threads, closing(self._messages()) as messages:
            for message in messages:
                free.acquire()
                future = threads.submit(self._handle, handler, message)
                self._handled.add(future)
                future.add_done_callback(done)

    def _handle(
        self, handler: Callable[[BlockingMessage], object], message: BlockingMessage
    ) -> None:
        if not self._may_begin(message):
            return
        error: BaseException | None = None
        try:
            with bind_context(handling.context_of(message)):
                handler(message)
        except BaseException as raised:  # noqa: BLE001 - it is told to the group: a thread cannot exit
            error = raised
        handling.settle(message, error)

    def _messages(self) -> Generator[BlockingMessage]:
        return resumed(
            self._one_call, self._caller.resumption(), self._closed, self._on_interrupted
        )

    def _one_call(self) -> Generator[BlockingMessage]:
        timeout_s = self._caller.retry.attempt_s
        metadata = metadata_of(self._caller, self._context_metadata, timeout_s)
        inbox = self._inbox = SimpleQueue()
        self._is_leaving = False
        requests = self._requests(self._in_flight.begin())
        ended: Future[None] = Future()
        with WatchedCall(begun(self._stub.Consume, requests, metadata=metadata)) as call:
            reading = threading.Thread(
                target=self._read, args=(call, inbox, ended), name="girih consumer", daemon=True
            )
            reading.start()
            try:
                while (message := inbox.get()) is not None and not self._closed.is_set():
                    if self._may_begin(message):
                        yield message
                if not self._closed.is_set():
                    ended.result()
            except GirihError as error:
                self._caller.note(error, metadata)
                raise
            finally:
                self._leave(ended)

    def _read(
        self, call: WatchedCall, inbox: "SimpleQueue[BlockingMessage | None]", ended: "Future[None]"
    ) -> None:
        """Until the call ends."""
        timeout_s: float | None = self._caller.retry.attempt_s
        error: GirihError = Unavailable.no_answer("the server ended the call")
        try:
            while (response := call.next(timeout_s)) is not None:
                timeout_s = None
                for message in self._in_flight.take(response):
                    inbox.put(message)
                self._notify()
        except GirihError as problem:
            error = problem
        self._in_flight.end(error)
        ended.set_exception(error)
        inbox.put(None)
        self._is_leaving = True
        self._to_send.set()
        self._notify()

    def _requests(self, first: pb.ConsumeRequest) -> Iterator[pb.ConsumeRequest]:
        """What gRPC sends, from a thread of its own."""
        yield first
        while True:
            self._to_send.clear()
            is_last = self._is_leaving
            yield from self._in_flight.requests()
            if is_last:
                return
            self._to_send.wait(self._in_flight.due_in_s())

    def _may_begin(self, message: BlockingMessage) -> bool:
        """Whether a message may be handled, once that is certain."""
        with self._changed:
            while message.is_held and not self._in_flight.is_certain():
                if self._closed.is_set():
                    return False
                self._changed.wait()
            return message.is_held

    def _leave(self, ended: "Future[None]") -> None:
        """Wait for handlers that run, and until what was said is durable."""
        if not ended.done():
            wait(list(self._handled), timeout=_GRACE_S)
            self._is_leaving = True
            self._to_send.set()
            wait([ended], timeout=_GRACE_S)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _new_outcome() -> "Future[None]":
    return Future()
