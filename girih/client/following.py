"""State that follows the log: folded from events, kept current, and honest about its age."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import grpc

from girih.client.cursors import Batch
from girih.client.errors import (
    BeyondEnd,
    ClientClosed,
    GirihError,
    LogReplaced,
    Refusal,
    Unauthenticated,
    Unavailable,
)
from girih.client.event_store import EventStoreClient
from girih.client.events import ABSENT
from girih.client.retry import RetryPolicy
from girih.ids import Position, Revision

Fold = Callable[[Batch], None]
"""Adds events to the state, in order. What it raises ends the follower."""

Start = Callable[[], Awaitable[int]]
"""Makes the state anew, and answers the place of the last event that it holds already."""

_STOPPED: Final = Refusal(
    code=grpc.StatusCode.UNAVAILABLE,
    message="the follower does not run any more",
    reason="FOLLOWER_STOPPED",
)
_BEYOND_END: Final = Refusal(
    code=grpc.StatusCode.ABORTED,
    message="the log, or the stream, ends before what was folded",
    reason="BEYOND_END",
)


class Follower:
    """Folds a stream, or the log, into a state that its owner keeps, and goes on for ever.

        counts = Counter[str]()
        follower = Follower(events, lambda batch: counts.update(one.type for one in batch))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follower.run())
            await follower.until_caught_up(timeout=5)

    One task of the owner's runs `run`, so that its death is noticed there. An event store that
    is away is waited for: the state then grows old, and `behind_s` tells how old. Where the
    log was restored to an earlier state, the state is started anew.

    Its place is the position of the last event folded; with a stream, its revision.
    """

    def __init__(
        self,
        events: EventStoreClient,
        fold: Fold,
        *,
        stream: str | None = None,
        start: Start | None = None,
        retry: RetryPolicy | None = None,
        on_interrupted: Callable[[GirihError], None] | None = None,
    ) -> None:
        """Without `start` everything is folded from the beginning, also when started anew.

        `on_interrupted` is called when following was interrupted, once until it goes on, and
        not when a call ends because its token has expired or it has lasted as long as it may.
        """
        self._events = events
        self._fold = fold
        self._stream = stream
        self._start = start
        self._backoff = (retry or RetryPolicy()).backoff()
        self._on_interrupted = on_interrupted
        self._place: int | None = None
        self._incarnation = ""
        """Of the log that the state holds."""
        self._target: int | None = None
        """Where the end was when the call that is open began; None while none is."""
        self._current_until_s: float | None = None
        """When the state was last known to be current, before it was not any more."""
        self._is_interrupted = False
        self._ended = False
        self._changed = asyncio.Condition()
        self.caught_up: Final = asyncio.Event()
        """Set once the state holds what had happened when following began; never cleared."""

    @property
    def place(self) -> int:
        """The place of the last event folded: 0 in a log, ABSENT in a stream, if none was."""
        return self._before_first if self._place is None else self._place

    @property
    def incarnation(self) -> str:
        """The incarnation of the log that the state was folded from; empty before there is one."""
        return self._incarnation

    @property
    def is_current(self) -> bool:
        """Everything is folded that was committed up to a moment ago."""
        return self._target is not None and self.place >= self._target

    @property
    def behind_s(self) -> float:
        """How many seconds ago the state was current: 0 while it is, infinite before it was.

        Counted from when the interruption was noticed: at once when the connection breaks,
        within 40 s when the server vanishes without a word.
        """
        if self.is_current:
            return 0.0
        if self._current_until_s is None:
            return float("inf")
        return time.monotonic() - self._current_until_s

    async def run(self) -> None:
        """Follow for ever. Ends only with what `fold` raises, with ClientClosed, or cancelled."""
        try:
            while True:
                try:
                    await self._follow()
                except ClientClosed:
                    raise
                except GirihError as error:
                    if isinstance(error, BeyondEnd | LogReplaced):
                        self._place = None
                    self._interrupted(error)
                    await asyncio.sleep(self._backoff.next_s(error.retry_after_s))
        finally:
            self._lose_target()
            self._ended = True
            await self._notify()

    async def until_caught_up(self, timeout: float) -> None:
        """Return once `caught_up`; raises Unavailable when that takes longer, or `run` ended."""
        await self._until(self.caught_up.is_set, timeout)

    async def until(self, place: int, timeout: float) -> None:
        """Return once the event at `place` is folded, to read one's own write; raises Unavailable
        when that takes longer, or `run` ended."""
        await self._until(lambda: self.place >= place, timeout)

    @property
    def _before_first(self) -> int:
        return 0 if self._stream is None else ABSENT

    async def _follow(self) -> None:
        if self._place is None:
            # Before the start: what that reads may be replaced as well before it is gone on from.
            self._incarnation = (await self._events.log()).incarnation
            self._place = self._before_first if self._start is None else await self._start()
        subscription = self._events.follow(
            self._stream,
            from_position=Position(self._place + 1) if self._stream is None else None,
            from_revision=None if self._stream is None else Revision(self._place + 1),
            incarnation=self._incarnation,
            on_connected=self._connected,
            on_interrupted=self._interrupted,
        )
        async with aclosing(subscription.batches()) as batches:
            async for batch in batches:
                self._fold(batch)
                self._incarnation = subscription.incarnation
                last = batch[-1]
                await self._reached(last.position if self._stream is None else last.revision)

    async def _connected(self) -> None:
        """What is committed from here on comes through the open call; what is before, is not
        all here until the end as it is now was reached."""
        end = await self._end()
        if self.place > end:
            raise BeyondEnd(_BEYOND_END)
        self._target = end
        self._is_interrupted = False
        self._backoff.reset()
        await self._reached(self.place)

    async def _end(self) -> int:
        if self._stream is None:
            return await self._events.head()
        return await self._events.head_revision(self._stream)

    async def _reached(self, place: int) -> None:
        self._place = place
        if self.is_current:
            self.caught_up.set()
        await self._notify()

    def _interrupted(self, error: GirihError) -> None:
        was_connected = self._target is not None
        self._lose_target()
        if self._is_interrupted or (was_connected and _is_routine(error)):
            return
        self._is_interrupted = True
        if self._on_interrupted is not None:
            self._on_interrupted(error)

    def _lose_target(self) -> None:
        if self.is_current:
            self._current_until_s = time.monotonic()
        self._target = None

    async def _until(self, holds: Callable[[], bool], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: holds() or self._ended)
        except TimeoutError as error:
            raise Unavailable.no_answer("the follower has not come so far in time") from error
        if not holds():
            raise Unavailable(_STOPPED)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _is_routine(error: GirihError) -> bool:
    """A call that follows lasts no longer than its token, or than the server allows."""
    if isinstance(error, Unauthenticated):
        return error.is_expired
    return error.code == grpc.StatusCode.DEADLINE_EXCEEDED
