"""Runs compute-bound work beside the event loop, so much at once and so much waiting.

Knows nothing of lattices. Work is a function that takes a `Stop` and looks at it often
enough to return within a tenth of a second of its being set.
"""

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.bounded_wait import bounded_wait
from services.lattice.computing.estimate import Estimate
from services.lattice.errors import ComputeBusy, WorkTooLarge
from services.plumbing import correlation
from services.plumbing.budget import Budget

T = TypeVar("T")

_RETRY_SHORTEST_S = 0.1
_RETRY_LONGEST_S = 10.0
_SMOOTHING = 0.2
"""The weight of the last piece of work in the mean duration that delays are estimated from."""

_SHORT_SHARE = 8
"""Short work has one part in so many of all bytes."""
_ALWAYS_BYTES = (1 << 30) + (1 << 28)
"""What takes no more has all bytes there are, alone, however few these are."""
_AGEING = 2.0
"""Work gives way to what is shorter and comes within so many times its own duration."""


class Stopped(Exception):
    """Work saw its `Stop` and gave up. Nobody waits for it any more."""


class Stop:
    """Asks running work to give up. Compiled code looks at `flag`, which is 0 or 1."""

    def __init__(self) -> None:
        self.flag: NDArray[np.uint8] = np.zeros(1, dtype=np.uint8)
        self.set_s: float | None = None
        """When it was set, by the monotonic clock."""

    def set(self) -> None:
        self.set_s = time.monotonic()
        self.flag[0] = 1

    def check(self) -> None:
        """Raise Stopped once it is set."""
        if self.flag[0]:
            raise Stopped


class Compute:
    """Threads for work, and the bytes that the work of all of them may take.

    Short work and long work have threads and bytes of their own, so that what takes a moment
    never waits for what takes a minute. In each lane work waits for its bytes, then for a
    thread; tenants take turns at both, and of a tenant's work the shorter comes first (see
    `_rank`). When as much waits as may wait, or when its turn does not come in time, work is
    refused with ComputeBusy and a delay estimated from how long work takes just now.

    A tenant may have half of the bytes, half of the waiting places, and in each lane so many
    threads as are asked for. There is one thread more in each, which only another tenant gets:
    it begins at once, however long the work of the first takes, and the system shares the
    cores between them.
    """

    def __init__(
        self,
        *,
        threads: int,
        bytes_max: int,
        waiting_max: int,
        on_stopped: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`on_stopped` is told, in the event loop, how many seconds work went on for that was
        stopped."""
        self.threads = threads
        self._on_stopped = on_stopped
        short_bytes = bytes_max // _SHORT_SHARE
        self._short = _Lane(threads, short_bytes)
        self._long = _Lane(threads, bytes_max - short_bytes)
        self._waiting_max = waiting_max
        self._executor = ThreadPoolExecutor(2 * (threads + 1), thread_name_prefix="lattice")
        self._stops: set[Stop] = set()
        self._calls: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Threads at work."""
        return self._short.threads.lent + self._long.threads.lent

    @property
    def bytes_lent(self) -> int:
        """The memory that work holds, in bytes."""
        return self._short.bytes.lent + self._long.bytes.lent

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for bytes or for a thread."""
        return self._short.waiting + self._long.waiting

    async def run(
        self, estimate: Estimate, work: Callable[[Stop], T], *, admitted: bool = False
    ) -> T:
        """Run work in a thread once its bytes are there; raises ComputeBusy, and WorkTooLarge
        where there will never be so many.

        The bytes and the thread are free again when the work has ended, whatever becomes of
        what it returned. A caller that is cancelled has its work stopped. A call that has
        begun to answer is `admitted` already: it waits for as long as it takes.
        """
        call = correlation.bound()
        owner = call.tenant if call else ""
        lane = self._short if estimate.is_short else self._long
        limit = max(lane.bytes.most, _ALWAYS_BYTES)
        if estimate.size_bytes > limit:
            raise WorkTooLarge(
                "this takes more memory than calls may compute in",
                estimate=estimate.size_bytes,
                limit=limit,
            )
        can_begin = lane.can_begin_now(estimate.size_bytes, owner)
        if not (admitted or can_begin) and self._is_full_for(owner):
            raise self._busy(lane)
        with self._counted(owner):
            if admitted or can_begin:
                turn = await lane.turn(estimate, owner)
            else:
                async with bounded_wait(self._busy(lane)):
                    turn = await lane.turn(estimate, owner)
            return await self._work(turn, work)

    async def close(self) -> None:
        """Stop all work and wait until the threads have ended."""
        for stop in list(self._stops):
            stop.set()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    async def _work(self, turn: "_Turn", work: Callable[[Stop], T]) -> T:
        stop = Stop()
        context = contextvars.copy_context()
        try:
            future = self._executor.submit(context.run, turn.lane.timed, work, stop)
        except BaseException:
            turn.end()
            raise
        self._stops.add(stop)
        loop = asyncio.get_running_loop()

        def end(ended_s: float) -> None:
            turn.end()
            self._stops.discard(stop)
            if stop.set_s is not None:
                self._on_stopped(max(0.0, ended_s - stop.set_s))

        def ended(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(end, time.monotonic())

        future.add_done_callback(ended)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.set()
            raise

    def _is_full_for(self, owner: str) -> bool:
        if self._calls[owner] >= self.threads + self._waiting_max // 2:
            return True
        return self.waiting >= self._waiting_max

    def _busy(self, lane: "_Lane") -> ComputeBusy:
        return ComputeBusy(
            "as much is computed as this process admits",
            retry_after_s=lane.retry_after_s(),
            waiting=self.waiting,
        )

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        self._calls[owner] += 1
        try:
            yield
        finally:
            self._calls[owner] -= 1
            if not self._calls[owner]:
                del self._calls[owner]


class _Lane:
    """The threads and the bytes of work of one kind."""

    def __init__(self, threads: int, bytes_max: int) -> None:
        self.bytes = Budget(bytes_max, share=bytes_max // 2)
        self.threads = Budget(threads + 1, share=threads)
        self._mean_s = _RETRY_SHORTEST_S

    @property
    def waiting(self) -> int:
        return self.bytes.waiting + self.threads.waiting

    def can_begin_now(self, size_bytes: int, owner: str) -> bool:
        has_thread = self.threads.can_take_now(1, owner)
        return has_thread and self.bytes.can_take_now(size_bytes, owner)

    async def turn(self, estimate: Estimate, owner: str) -> "_Turn":
        """Wait for bytes and a thread."""
        rank = _rank(estimate)
        taken = await self.bytes.take(estimate.size_bytes, owner, rank)
        try:
            await self.threads.take(1, owner, rank)
        except BaseException:
            self.bytes.give_back(taken, owner)
            raise
        return _Turn(self, owner, taken)

    def timed(self, work: Callable[[Stop], T], stop: Stop) -> T:
        stop.check()
        began_s = time.monotonic()
        try:
            return work(stop)
        finally:
            # Several threads may write this: a lost update costs a delay's precision.
            took_s = time.monotonic() - began_s
            self._mean_s += _SMOOTHING * (took_s - self._mean_s)

    def retry_after_s(self) -> float:
        wait_s = (self.waiting + 1) * self._mean_s / (self.threads.most - 1)
        return min(max(wait_s, _RETRY_SHORTEST_S), _RETRY_LONGEST_S)


class _Turn:
    """The thread and the bytes that a piece of work holds until it has ended."""

    def __init__(self, lane: _Lane, owner: str, bytes_held: int) -> None:
        self.lane = lane
        self._owner = owner
        self._bytes_held = bytes_held

    def end(self) -> None:
        self.lane.threads.give_back(1, self._owner)
        self.lane.bytes.give_back(self._bytes_held, self._owner)


def _rank(estimate: Estimate) -> float:
    """Where work stands among its owner's: as if it had come later by twice its duration.

    So the short overtakes the long, and not for ever: what comes after that time stands
    behind it.
    """
    return time.monotonic() + _AGEING * estimate.duration_s
