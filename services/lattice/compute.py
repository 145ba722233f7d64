"""Runs compute-bound work beside the event loop, so much at once and so much waiting.

Knows nothing of lattices. Work is a function that takes a `Stop` and looks at it often
enough to return within a second of its being set.
"""

import asyncio
import contextvars
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.errors import ComputeBusy
from services.plumbing import correlation

T = TypeVar("T")

_RETRY_SHORTEST_S = 0.1
_RETRY_LONGEST_S = 10.0
_SMOOTHING = 0.2
"""The weight of the last piece of work in the mean duration that delays are told from."""


class Stopped(Exception):
    """Work saw its `Stop` and gave up. Nobody waits for it any more."""


class Stop:
    """Tells running work to give up. Compiled code looks at `flag`, which is 0 or 1."""

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, dtype=np.uint8)

    def set(self) -> None:
        self.flag[0] = 1

    def check(self) -> None:
        """Raise Stopped when told to give up."""
        if self.flag[0]:
            raise Stopped


@dataclass(frozen=True, eq=False)
class _Turn:
    owner: str
    size_bytes: int
    lent: asyncio.Future[None]


class ByteBudget:
    """So many bytes at once, lent in the order of asking. Not for use from several threads.

    An owner that holds some already gets no more than half of all: what it asks for beyond
    waits, and others pass. Nobody (an empty name) may have them all.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_lent = 0
        self._lent_to: Counter[str] = Counter()
        self._waiting: deque[_Turn] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def has_room_for(self, size_bytes: int, owner: str = "") -> bool:
        """Whether that many bytes could be had without waiting."""
        size_bytes = self._lendable(size_bytes)
        return not self._waiting and self._fits(size_bytes) and self._in_share(size_bytes, owner)

    async def take(self, size_bytes: int, owner: str = "") -> int:
        """Wait for that many bytes, or for all there are when that is less, and tell which."""
        turn = _Turn(owner, self._lendable(size_bytes), asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._lend()
        try:
            await turn.lent
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._lend()
            else:
                self.give_back(turn.size_bytes, owner)
            raise
        return turn.size_bytes

    def give_back(self, size_bytes: int, owner: str = "") -> None:
        """Return bytes that `take` told of, all or some of them."""
        self.bytes_lent -= size_bytes
        self._lent_to[owner] -= size_bytes
        if not self._lent_to[owner]:
            del self._lent_to[owner]
        self._lend()

    def _lend(self) -> None:
        passed = set()
        for turn in list(self._waiting):
            # Who is passed is passed whole, or its small calls would starve its large one.
            if turn.owner in passed or not self._in_share(turn.size_bytes, turn.owner):
                passed.add(turn.owner)
                continue
            if not self._fits(turn.size_bytes):
                return
            self._waiting.remove(turn)
            self.bytes_lent += turn.size_bytes
            self._lent_to[turn.owner] += turn.size_bytes
            if not turn.lent.done():
                turn.lent.set_result(None)

    def _lendable(self, size_bytes: int) -> int:
        return min(size_bytes, self.bytes_max)

    def _fits(self, size_bytes: int) -> bool:
        return self.bytes_lent + size_bytes <= self.bytes_max

    def _in_share(self, size_bytes: int, owner: str) -> bool:
        held = self._lent_to[owner] if owner else 0
        return held == 0 or held + size_bytes <= self.bytes_max // 2


class Compute:
    """Threads for work, and the bytes that the work of all of them may take.

    Work first reserves its bytes, in the order of asking. When as much waits as may wait,
    more is refused with ComputeBusy and a delay told from how long work takes just now. A
    tenant may have half of the bytes and half of the line, so that others get their turn.
    """

    def __init__(self, *, threads: int, bytes_max: int, waiting_max: int) -> None:
        self.threads = threads
        self.budget = ByteBudget(bytes_max)
        self._waiting_max = waiting_max
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="lattice")
        self._stops: set[Stop] = set()
        self._calls: Counter[str] = Counter()
        self._mean_s = _RETRY_SHORTEST_S

    @property
    def running(self) -> int:
        return min(len(self._stops), self.threads)

    @property
    def waiting(self) -> int:
        return self.budget.waiting + len(self._stops) - self.running

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
        if not (admitted or self._has_room_for(size_bytes, owner)) and self._is_full_for(owner):
            raise ComputeBusy(
                "as much is computed as this process admits",
                retry_after_s=self._retry_after_s(),
                waiting=self.waiting,
            )
        with self._in_line(owner):
            reservation = Reservation(self, owner, await self.budget.take(size_bytes, owner))
            try:
                yield reservation
            finally:
                reservation.when_idle(lambda: reservation.keep(0))

    async def run(self, size_bytes: int, work: Callable[[Stop], T], *, admitted: bool = False) -> T:
        """Reserve the bytes for one piece of work and run it."""
        async with self.reserve(size_bytes, admitted=admitted) as reservation:
            return await reservation.run(work)

    def submit(self, work: Callable[[Stop], T], stop: Stop) -> Future[T]:
        """Give work to a thread, in the context of the caller."""
        context = contextvars.copy_context()
        future = self._executor.submit(context.run, self._timed, work, stop)
        self._stops.add(stop)
        return future

    def finished(self, stop: Stop) -> None:
        self._stops.discard(stop)

    async def close(self) -> None:
        """Stop all work and wait until the threads have ended."""
        for stop in list(self._stops):
            stop.set()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _has_room_for(self, size_bytes: int, owner: str) -> bool:
        return len(self._stops) < self.threads and self.budget.has_room_for(size_bytes, owner)

    def _is_full_for(self, owner: str) -> bool:
        if owner and self._calls[owner] >= self.threads + self._waiting_max // 2:
            return True
        return self.waiting >= self._waiting_max

    @contextmanager
    def _in_line(self, owner: str) -> Iterator[None]:
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
        """Run work in a thread. When the caller is cancelled the work is told to stop."""
        stop = Stop()
        future = self._compute.submit(work, stop)
        self._working += 1
        future.add_done_callback(lambda _: self._tell_loop(stop))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.set()
            raise

    def keep(self, size_bytes: int) -> None:
        """Give back all but that many bytes: work that took more must have ended."""
        spare_bytes = max(0, self._bytes_held - size_bytes)
        self._bytes_held -= spare_bytes
        self._compute.budget.give_back(spare_bytes, self._owner)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once no thread works for this reservation."""
        self._when_idle = then
        self._if_idle()

    def _tell_loop(self, stop: Stop) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done, stop)

    def _done(self, stop: Stop) -> None:
        self._compute.finished(stop)
        self._working -= 1
        self._if_idle()

    def _if_idle(self) -> None:
        if self._working == 0 and self._when_idle is not None:
            then, self._when_idle = self._when_idle, None
            then()
