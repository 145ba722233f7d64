"""Runs compute-bound work beside the event loop, so much at once and so much waiting.

Knows nothing of lattices. Work is a function that takes a `Stop` and looks at it often
enough to return within a second of its being set.
"""

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.budget import Budget
from services.lattice.errors import ComputeBusy
from services.plumbing import correlation

T = TypeVar("T")

_RETRY_SHORTEST_S = 0.1
_RETRY_LONGEST_S = 10.0
_SMOOTHING = 0.2
"""The weight of the last piece of work in the mean duration that delays are estimated from."""


class Stopped(Exception):
    """Work saw its `Stop` and gave up. Nobody waits for it any more."""


class Stop:
    """Asks running work to give up. Compiled code looks at `flag`, which is 0 or 1."""

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, dtype=np.uint8)

    def set(self) -> None:
        self.flag[0] = 1

    def check(self) -> None:
        """Raise Stopped once it is set."""
        if self.flag[0]:
            raise Stopped


class Compute:
    """Threads for work, and the bytes that the work of all of them may take.

    Work first reserves its bytes, then waits for a thread; tenants take turns at both. When
    as much waits as may wait, more is refused with ComputeBusy and a delay estimated from how
    long work takes just now. A tenant may have half of the bytes, half of the waiting places,
    and so many threads as are asked for. There is one thread more, which only another tenant
    gets: it begins at once, however long the work of the first takes, and the system shares the
    cores between them.
    """

    def __init__(self, *, threads: int, bytes_max: int, waiting_max: int) -> None:
        self.threads = threads
        self.bytes = Budget(bytes_max, share=bytes_max // 2)
        self._thread_budget = Budget(threads + 1, share=threads)
        self._waiting_max = waiting_max
        self._executor = ThreadPoolExecutor(threads + 1, thread_name_prefix="lattice")
        self._stops: set[Stop] = set()
        self._calls: Counter[str] = Counter()
        self._mean_s = _RETRY_SHORTEST_S

    @property
    def running(self) -> int:
        """Threads at work."""
        return self._thread_budget.lent

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for bytes or for a thread."""
        return self.bytes.waiting + self._thread_budget.waiting

    @asynccontextmanager
    async def reserve(
        self, size_bytes: int, *, admitted: bool = False
    ) -> AsyncIterator["Reservation"]:
        """Hold that many bytes inside the block; raises ComputeBusy when too much waits.

        The bytes return when the block ends and no thread works on them any more. A call
        that has begun to answer is `admitted` already: it waits for as long as it takes.
        """
        call = correlation.bound()
        owner = call.tenant if call else ""
        if not (admitted or self._can_begin_now(size_bytes, owner)) and self._is_full_for(owner):
            raise ComputeBusy(
                "as much is computed as this process admits",
                retry_after_s=self._retry_after_s(),
                waiting=self.waiting,
            )
        with self._counted(owner):
            reservation = Reservation(self, owner, await self.bytes.take(size_bytes, owner))
            try:
                yield reservation
            finally:
                reservation.when_idle(lambda: reservation.keep(0))

    async def run(self, size_bytes: int, work: Callable[[Stop], T], *, admitted: bool = False) -> T:
        """Reserve the bytes for one piece of work and run it."""
        async with self.reserve(size_bytes, admitted=admitted) as reservation:
            return await reservation.run(work)

    async def submit(self, owner: str, work: Callable[[Stop], T], stop: Stop) -> Future[T]:
        """Wait for a thread and give it the work, in the context of the caller."""
        await self._thread_budget.take(1, owner)
        context = contextvars.copy_context()
        try:
            future = self._executor.submit(context.run, self._timed, work, stop)
        except BaseException:
            self._thread_budget.give_back(1, owner)
            raise
        self._stops.add(stop)
        return future

    def finished(self, owner: str, stop: Stop) -> None:
        """The thread that was given work has ended it."""
        self._stops.discard(stop)
        self._thread_budget.give_back(1, owner)

    async def close(self) -> None:
        """Stop all work and wait until the threads have ended."""
        for stop in list(self._stops):
            stop.set()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _can_begin_now(self, size_bytes: int, owner: str) -> bool:
        has_thread = self._thread_budget.can_take_now(1, owner)
        return has_thread and self.bytes.can_take_now(size_bytes, owner)

    def _is_full_for(self, owner: str) -> bool:
        if self._calls[owner] >= self.threads + self._waiting_max // 2:
            return True
        return self.waiting >= self._waiting_max

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        self._calls[owner] += 1
        try:
            yield
        finally:
            self._calls[owner] -= 1
            if not self._calls[owner]:
                del self._calls[owner]

    def _timed(self, work: Callable[[Stop], T], stop: Stop) -> T:
        stop.check()
        began_s = time.monotonic()
        try:
            return work(stop)
        finally:
            # Several threads may write this: a lost update costs a delay's precision.
            took_s = time.monotonic() - began_s
            self._mean_s += _SMOOTHING * (took_s - self._mean_s)

    def _retry_after_s(self) -> float:
        wait_s = (self.waiting + 1) * self._mean_s / self.threads
        return min(max(wait_s, _RETRY_SHORTEST_S), _RETRY_LONGEST_S)


class Reservation:
    """Bytes that are held, and the work done on them, one piece after the other."""

    def __init__(self, compute: Compute, owner: str, bytes_held: int) -> None:
        self._compute = compute
        self._owner = owner
        self._bytes_held = bytes_held
        self._loop = asyncio.get_running_loop()
        self._working = 0
        self._when_idle: Callable[[], None] | None = None

    async def run(self, work: Callable[[Stop], T]) -> T:
        """Run work in a thread. When the caller is cancelled the work is stopped."""
        stop = Stop()
        future = await self._compute.submit(self._owner, work, stop)
        self._working += 1
        future.add_done_callback(lambda _: self._notify_loop(stop))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.set()
            raise

    def keep(self, size_bytes: int) -> None:
        """Give back all but that many bytes: work that took more must have ended."""
        spare_bytes = max(0, self._bytes_held - size_bytes)
        self._bytes_held -= spare_bytes
        self._compute.bytes.give_back(spare_bytes, self._owner)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call `callback` once no thread works for this reservation."""
        self._when_idle = callback
        self._if_idle()

    def _notify_loop(self, stop: Stop) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done, stop)

    def _done(self, stop: Stop) -> None:
        self._compute.finished(self._owner, stop)
        self._working -= 1
        self._if_idle()

    def _if_idle(self) -> None:
        if self._working == 0 and self._when_idle is not None:
            callback, self._when_idle = self._when_idle, None
            callback()
