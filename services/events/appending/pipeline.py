"""Works on several requests of one long call at once, and answers them in their order.

Knows neither the wire nor what a request asks.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from services.plumbing.errors import ShuttingDown

REQUEST_COUNT_MAX = 64
REQUEST_BYTES_MAX = 16 * 2**20

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Pipeline(Generic[Request, Answer]):
    """The requests of one call that are being worked on, as many as there is room for.

    While `REQUEST_COUNT_MAX` requests or `REQUEST_BYTES_MAX` of them have no answer that
    the client has taken, no further one is read: then gRPC stops the client.
    """

    def __init__(
        self,
        begin: Callable[[Request], Awaitable["asyncio.Future[Answer]"]],
        size_of: Callable[[Request], int],
        stopping: asyncio.Event,
    ) -> None:
        """`begin` is called for one request after the other, and answers with its outcome
        to come; `stopping` is set when no further one is to be read.
        """
        self._begin = begin
        self._size_of = size_of
        self._stopping = stopping
        self._begun: deque[_Begun[Answer]] = deque()
        self._byte_count = 0
        self._changed = asyncio.Event()

    async def answers(self, requests: AsyncIterator[Request]) -> AsyncGenerator[Answer, None]:
        """The answers in the order of the requests. Raises what reading a request or an
        outcome raises, behind the answers to what came before, and `ShuttingDown`.

        What has begun when it is closed is cancelled, all in one turn of the event loop, so that
        nobody works on a later request once an earlier one was given up.
        """
        reading = asyncio.create_task(self._read(requests), name="read requests")
        reading.add_done_callback(lambda _: self._changed.set())
        ending = asyncio.create_task(self._end(reading), name="end requests")
        try:
            while True:
                await self._until(lambda: self._begun or reading.done())
                if not self._begun:
                    break
                # Whoever is cancelled while it awaits an outcome itself cancels that, and those
                # begun behind it a turn later.
                await self._until(self._begun[0].outcome.done)
                yield await self._begun[0].outcome
                self._byte_count -= self._begun.popleft().byte_count
                self._changed.set()
            self._raise_of(reading)
        finally:
            await _cancel([reading, ending, *[begun.outcome for begun in self._begun]])

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        async for request in requests:
            byte_count = self._size_of(request)
            outcome = await self._begin(request)
            outcome.add_done_callback(lambda _: self._changed.set())
            self._begun.append(_Begun(outcome, byte_count))
            del request  # it may be large, and it may be long until the next one
            self._byte_count += byte_count
            self._changed.set()
            await self._until(self._has_capacity)

    async def _end(self, reading: "asyncio.Task[None]") -> None:
        await self._stopping.wait()
        reading.cancel()

    def _has_capacity(self) -> bool:
        return len(self._begun) < REQUEST_COUNT_MAX and self._byte_count < REQUEST_BYTES_MAX

    async def _until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _raise_of(self, reading: "asyncio.Task[None]") -> None:
        if reading.cancelled():
            raise ShuttingDown("this process is shutting down")
        reading.result()


async def _cancel(works: Sequence["asyncio.Future[Any]"]) -> None:
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)


class _Begun(NamedTuple, Generic[Answer]):
    """A request that is being worked on."""

    outcome: "asyncio.Future[Answer]"
    byte_count: int
